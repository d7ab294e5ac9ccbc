// SPDX-License-Identifier: Apache-2.0
// Rows C01, C03 and C08 of the reliability table: what a template can reach and what it may cost.
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <ctime>
#include <fstream>

#include "text/chat_template.h"
#include "text/test_files.h"

namespace unimax {
namespace {

using json = nlohmann::ordered_json;

constexpr int64_t kFixedNow = 1721984703;  // 2024-07-26 09:05:03
constexpr bool kSanitized = std::string_view(UM_SANITIZERS) != "";

// ---- C01 ----

// Ways out of template engines, as they are known: each prints something only where it gets out.
std::vector<std::string> Escapes() {
  std::vector<std::string> out = {
      "{{ ''.__class__.__mro__[1].__subclasses__() }}",
      "{{ ''.__class__.__base__.__subclasses__()[40]('/etc/passwd').read() }}",
      "{{ [].__class__.__base__.__subclasses__() }}",
      "{{ {}.__class__.__mro__[-1].__subclasses__() }}",
      "{{ ().__class__.__bases__[0].__subclasses__() }}",
      "{{ (1).__class__ }}",
      "{{ 1.0.__class__ }}",
      "{{ true.__class__ }}",
      "{{ none.__class__ }}",
      "{{ ''['__class__'] }}",
      "{{ ''['__cla' ~ 'ss__'] }}",
      "{{ '' | attr('__class__') }}",
      "{{ '' | attr('__cla' ~ 'ss__') | attr('__mro__') }}",
      "{{ messages.__class__ }}",
      "{{ messages[0].__class__.__init__.__globals__ }}",
      "{{ messages | attr('__class__') }}",
      "{{ messages.__getitem__ }}",
      "{{ self }}",
      "{{ self.__init__.__globals__ }}",
      "{{ self._TemplateReference__context }}",
      "{{ self._TemplateReference__context.cycler.__init__.__globals__.os.popen('id').read() }}",
      "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
      "{{ joiner.__init__.__globals__.os.environ }}",
      "{{ namespace.__init__.__globals__ }}",
      "{{ lipsum.__globals__['os'].popen('id').read() }}",
      "{{ lipsum.__globals__.__builtins__.open('/etc/passwd').read() }}",
      "{{ range.__class__ }}",
      "{{ dict.__base__ }}",
      "{{ dict.__subclasses__() }}",
      "{{ raise_exception.__globals__ }}",
      "{{ raise_exception.__code__ }}",
      "{{ strftime_now.__globals__ }}",
      "{{ strftime_now.__self__ }}",
      "{{ config }}",
      "{{ config.items() }}",
      "{{ request.environ }}",
      "{{ request.application.__globals__.__builtins__.__import__('os').popen('id').read() }}",
      "{{ get_flashed_messages.__globals__ }}",
      "{{ url_for.__globals__ }}",
      "{{ g.pop.__globals__ }}",
      "{{ ''.format.__self__ }}",
      "{{ '{0.__class__}'.format('') }}",
      "{{ '{0.__class__.__mro__}'.format(messages) }}",
      "{{ '{m[0].__class__}'.format(m=messages) }}",
      "{{ '%(a.__class__)s' % {'a': 1} }}",
      "{{ messages | map(attribute='__class__') | list | first }}",
      "{{ messages | map('attr', '__class__') | list | first }}",
      "{{ messages | selectattr('__class__') | list | first }}",
      "{{ messages | groupby('__class__') | map(attribute='grouper') | first }}",
      "{{ messages | sum(attribute='__len__') }}",
      "{% for x in ''.__class__.__mro__ %}{{ x }}{% endfor %}",
      "{% set x = ''.__class__ %}{{ x }}",
      "{% macro m() %}{% endmacro %}{{ m.__globals__ }}",
      "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
      "{% macro m() %}{{ caller.__globals__ }}{% endmacro %}{% call m() %}{% endcall %}",
      "{% for x in [1] %}{{ loop.__class__ }}{{ loop._iterable }}{% endfor %}",
      "{{ eval('1') }}",
      "{{ exec('import os') }}",
      "{{ open('/etc/passwd').read() }}",
      "{{ __import__('os').system('id') }}",
      "{{ __builtins__ }}",
      "{{ globals() }}{{ locals() }}{{ vars() }}",
      "{{ getattr('', '__class__') }}",
      "{{ env.from_string('x') }}{{ environment }}",
      "{% include '/etc/passwd' %}",
      "{% import 'os' as os %}{{ os }}",
      "{% from 'os' import system %}{{ system('id') }}",
      "{% extends '/etc/passwd' %}",
      "{% include ['a', 'b'] ignore missing %}",
  };
  return out;
}

// Kills this process on any call that opens, runs or connects something. False where the system does not allow that.
bool ForbidCalls() {
  std::vector<sock_filter> filter = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const unsigned call :
       {SYS_openat, SYS_openat2, SYS_execve, SYS_execveat, SYS_socket, SYS_connect, SYS_ptrace, SYS_clone3, SYS_kill}) {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// What a process that only renders `source` ended with: its exit status, or 1000 + the signal that killed it.
int RenderApart(const std::string& source, int status_without_filter) {
  const pid_t child = fork();
  if (child == 0) {
    if (!ForbidCalls()) _exit(status_without_filter);
    const auto made = ChatTemplate::Parse(source);
    if (!made.ok()) _exit(0);
    const auto rendered = made->RenderJson(R"({"messages": [{"role": "user", "content": "x"}]})", kFixedNow);
    _exit(rendered.ok() && rendered->text.find_first_not_of(" \n") != std::string::npos ? 1 : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(TemplateLimits, C01NothingIsInReach) {
  int escapes = 0, calls = 0, of = 0;
  bool filtered = true;
  for (const std::string& source : Escapes()) {
    const int ended = RenderApart(source, 77);
    filtered &= ended != 77;
    ++of;
    calls += ended >= 1000 ? 1 : 0;
    if (ended == 1) {
      ++escapes;
      ADD_FAILURE() << source;
    }
  }
  if (!filtered) GTEST_SKIP() << "this system allows no seccomp filter";
  EXPECT_GE(of, 60);
  EXPECT_EQ(calls, 0);
  std::printf("C01 escapes=%d syscalls=%d of %d %s\n", escapes, calls, of, escapes + calls == 0 ? "PASS" : "FAIL");
}

TEST(TemplateLimits, C01TheFilterBites) {
  const pid_t child = fork();
  if (child == 0) {
    if (!ForbidCalls()) _exit(77);
    std::ifstream file("/etc/hostname");
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "this system allows no seccomp filter";
  EXPECT_TRUE(WIFSIGNALED(status));
}

// ---- C03 ----

std::string Repeat(std::string_view text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

std::vector<std::string> Bombs() {
  const std::string grow = "{% set ns = namespace(x='aaaaaaaaaa') %}{% for i in range(60) %}";
  const std::string chain = Repeat("{% for a in range(300) %}", 4) + "x" + Repeat("{% endfor %}", 4);
  return {
      "{{ 'x' * 10 ** 10 }}",
      "{{ [0] * 10 ** 10 }}",
      "{{ (1, 2) * 10 ** 15 }}",
      "{{ 'x' * (2 ** 62) * 4 }}",
      "{{ 2 ** 100000000 }}",
      "{{ 7 ** 7 ** 7 ** 7 }}",
      "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
      chain,
      "{% for a in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
      "{% for x in [[[]]] recursive %}{{ loop([[x]]) }}{% endfor %}",
      grow + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
      grow + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
      grow + "{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
      grow + "{% set ns.x = ns.x | replace('a', 'aa') %}{% endfor %}",
      grow + "{% set ns.x = '%s%s' % (ns.x, ns.x) %}{% endfor %}",
      grow + "{% set ns.x = '{0}{0}'.format(ns.x) %}{% endfor %}",
      grow + "{% set ns.x = ns.x | indent(100000, true) %}{% endfor %}",
      grow + "{% set ns.x = (ns.x ~ ns.x) | upper %}{% endfor %}",
      grow + "{% set ns.x = ns.x | tojson | tojson | tojson %}{% endfor %}",
      grow + "{% set ns.x = ns.x | list | string %}{% endfor %}",
      grow + "{% set ns.x = (ns.x ~ ns.x) | urlencode %}{% endfor %}",
      grow + "{% set ns.x = ns.x.join(['a', ns.x, 'b', ns.x]) %}{% endfor %}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
      "{% set ns = namespace(x={}) %}{% for i in range(60) %}{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}"
      "{{ ns.x | tojson }}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"
      "{{ ns.x == ns.x }}{{ (ns.x ~ '') | length }}",
      "{{ 'a' | center(10 ** 12) }}",
      "{{ 'a'.ljust(10 ** 9) ~ 'a'.zfill(10 ** 9) }}",
      "{{ 'a' | indent(10 ** 12, true) }}",
      "{{ '%999999999999d' % 1 }}",
      "{{ '{:>999999999999}'.format(1) }}",
      "{{ [1] | batch(10 ** 12, 0) | list }}",
      "{{ [1] | slice(10 ** 12) | list }}",
      "{{ range(10 ** 15) | list }}",
      "{{ 'a\tb'.expandtabs(10 ** 12) }}",
      "{% set a = [] %}{% for i in range(99999) %}{% set a = a + a + [i] %}{{ a | length }}{% endfor %}{{ 1 // 0 }}",
      "{% for i in range(100000) %}{{ range(100000) | list | length }}{% endfor %}",
      "{% for i in range(100000) %}{{ 'x' in 'a' * 100000 }}{% endfor %}",
      "{% for i in range(100000) %}{{ (range(1000) | list) == (range(1000) | list) }}{% endfor %}",
      "{% for i in range(10000) %}{{ range(1000) | sort | first }}{% endfor %}",
      "{% set s = 'a' * 1000000 %}{% for i in range(10000) %}{{ s | upper | length }}{% endfor %}",
      "{% set s = 'ab ' * 300000 %}{% for i in range(1000) %}{{ s | title | wordcount }}{{ s | striptags }}{% endfor "
      "%}",
      "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{{ s[500000] }}{{ s | length }}{% endfor %}",
      "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{{ s == s ~ '' }}{{ s.count('a') }}{% endfor %}",
      "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{{ s.strip('b') | length }}{% endfor %}",
      "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{{ s.find('b') }}{{ s.isalpha() }}{% endfor %}",
      "{{ " + std::string(5000, '[') + std::string(5000, ']') + " }}",
      Repeat("{% if true %}", 5000),
      "{{ 1" + Repeat("+1", 50000) + " }}",
      "{{ 'a'" + Repeat(" ~ 'a'", 50000) + " }}",
      "{{ " + std::string(5000, '-') + "1 }}",
      "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}",
      "{{ x" + Repeat("|trim", 50000) + " }}",
      "{{ x" + Repeat(".a", 50000) + " }}",
      "{{ x" + Repeat(" if x else x", 20000) + " }}",
  };
}

struct Cost {
  double ms = 0;
  double mib = 0;      // how far the peak of resident memory rose
  bool error = false;  // the template was refused
  bool killed = false;
};

// Renders a bomb in a process of its own, whose peak of memory nobody shares.
Cost Explode(const std::string& source) {
  int ends[2];
  if (pipe(ends) != 0) return {0, 0, false, true};
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    rusage before{}, after{};
    getrusage(RUSAGE_SELF, &before);
    const auto start = std::chrono::steady_clock::now();
    const auto made = ChatTemplate::Parse(source);
    const bool error = !made.ok() || !made->RenderJson("{}", kFixedNow).ok();
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    getrusage(RUSAGE_SELF, &after);
    const Cost cost = {took.count(), static_cast<double>(after.ru_maxrss - before.ru_maxrss) / 1024, error, false};
    const bool written = write(ends[1], &cost, sizeof(cost)) == sizeof(cost);
    _exit(written ? 0 : 1);
  }
  close(ends[1]);
  Cost cost;
  if (read(ends[0], &cost, sizeof(cost)) != sizeof(cost)) cost.killed = true;
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return cost;
}

TEST(TemplateLimits, C03BombsAreBounded) {
  double worst_ms = 0, worst_mib = 0;
  int killed = 0, refused = 0, bombs = 0;
  for (const std::string& bomb : Bombs()) {
    Cost cost = Explode(bomb);
    if (cost.ms > 500) cost.ms = std::min(cost.ms, Explode(bomb).ms);  // of two, where the machine is busy
    ++bombs;
    worst_ms = std::max(worst_ms, cost.ms);
    worst_mib = std::max(worst_mib, cost.mib);
    killed += cost.killed ? 1 : 0;
    refused += cost.error ? 1 : 0;
    EXPECT_FALSE(cost.killed) << bomb.substr(0, 120);
    if (kSanitized) continue;
    EXPECT_LE(cost.ms, 1000) << bomb.substr(0, 120);
    EXPECT_LE(cost.mib, 96) << bomb.substr(0, 120);  // with what the allocator keeps
  }
  EXPECT_GE(bombs, 40);
  EXPECT_GE(refused, 50);  // the others end within the limits
  if (kSanitized) return;  // the figures are those of a plain build
  const bool good = killed == 0 && worst_ms <= 1000 && worst_mib <= 64;
  std::printf("C03 max_ms=%.0f max_heap_mib=%.0f killed=%d of %d refused=%d %s\n", worst_ms, worst_mib, killed, bombs,
              refused, good ? "PASS" : "FAIL");
  EXPECT_TRUE(good);
}

// ---- C08 ----

std::string Chat(int messages) {
  json list = json::array();
  for (int i = 0; i < messages; ++i) {
    if (i % 8 == 5) {
      list.push_back({{"role", "assistant"},
                      {"content", nullptr},
                      {"tool_calls",
                       {{{"id", "c" + std::to_string(i)},
                         {"function", {{"name", "look"}, {"arguments", {{"key", i}, {"s", "a<b"}}}}}}}}});
    } else if (i % 8 == 6) {
      list.push_back({{"role", "tool"}, {"tool_call_id", "c" + std::to_string(i - 1)}, {"content", "{\"found\": 1}"}});
    } else {
      list.push_back(
          {{"role", i % 2 == 0 ? "user" : "assistant"},
           {"content", "  Message number " + std::to_string(i) + ", with some words to it.\nAnd a line.  "}});
    }
  }
  const json tool = {{"type", "function"}, {"function", {{"name", "look"}, {"parameters", {{"type", "object"}}}}}};
  return json{{"messages", list}, {"tools", {tool}}, {"add_generation_prompt", true}, {"bos_token", "<s>"}}.dump();
}

// A template of the larger kind: system message, tools, calls, results, checks of roles, thinking that is cut off.
constexpr std::string_view kLarge = R"({{- bos_token }}
{%- macro show(content) -%}
  {%- if content is string -%}{{ content | trim }}
  {%- elif content is iterable and content is not none -%}
    {%- for part in content -%}{{ part.text if part.type == 'text' }}{%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim %}
{%- set chat = messages[1:] %}
{%- else %}{% set system = '' %}{% set chat = messages %}{% endif %}
{{- '<|start|>system\n' + system }}
{%- if tools %}{{ '\n# Tools\n' }}
{%- for tool in tools %}{{ tool | tojson(indent=2) }}{{ '\n' }}{%- endfor %}{% endif %}
{{- '<|end|>\n' }}
{%- set ns = namespace(last=-1) %}
{%- for m in chat %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in chat %}
  {%- set content = show(m.content) %}
  {%- if m.role == 'user' or m.role == 'system' %}
    {{- '<|start|>' + m.role + '\n' + content + '<|end|>\n' }}
  {%- elif m.role == 'assistant' %}
    {{- '<|start|>assistant\n' }}
    {%- if '</think>' in content and loop.index0 < ns.last %}
      {%- set content = content.split('</think>')[-1] %}
    {%- endif %}
    {{- content }}
    {%- if m.tool_calls %}
      {%- for call in m.tool_calls %}
        {{- '\n<call>' ~ call.function.name ~ ' ' ~ (call.function.arguments | tojson) ~ '</call>' }}
      {%- endfor %}
    {%- endif %}
    {{- '<|end|>\n' }}
  {%- elif m.role == 'tool' %}
    {%- if loop.first or (chat[loop.index0 - 1].role != 'tool') %}{{- '<|start|>tool' }}{% endif %}
    {{- '\n<result>' ~ content ~ '</result>' }}
    {%- if loop.last or (chat[loop.index0 + 1].role != 'tool') %}{{- '<|end|>\n' }}{% endif %}
  {%- else %}{{ raise_exception('unknown role ' ~ m.role) }}
  {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant\n' }}{% endif %})";

// Of this thread: what other programs do meanwhile does not count.
double CpuMilliseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

double RenderMilliseconds(const ChatTemplate& chat_template, const std::string& context, int repeats) {
  double best = 1e9;
  for (int i = 0; i < repeats; ++i) {
    const double start = CpuMilliseconds();
    const auto rendered = chat_template.RenderJson(context, kFixedNow);
    const double took = CpuMilliseconds() - start;
    EXPECT_TRUE(rendered.ok()) << rendered.status().text();
    best = std::min(best, took);
  }
  return best;
}

TEST(TemplateLimits, C08LongChatsTakeLinearTime) {
  const auto made = ChatTemplate::Parse(std::string(kLarge));
  ASSERT_TRUE(made.ok()) << made.status().text();
  // Least squares of log time over log messages.
  double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (int messages = 100; messages <= 12800; messages *= 2) {
    const double x = std::log(messages), y = std::log(RenderMilliseconds(*made, Chat(messages), 7));
    n += 1, sx += x, sy += y, sxx += x * x, sxy += x * y;
  }
  const double slope = (n * sxy - sx * sy) / (n * sxx - sx * sx);
  const double ms = RenderMilliseconds(*made, Chat(10000), 5);
  if (kSanitized) return;  // the figures are those of a plain build
  const bool good = slope <= 1.15 && ms <= 200;
  std::printf("C08 slope=%.3f ms=%.1f messages=10000 %s\n", slope, ms, good ? "PASS" : "FAIL");
  EXPECT_TRUE(good);
}

}  // namespace
}  // namespace unimax
