# SPDX-License-Identifier: Apache-2.0
"""Templates of this project's own for tests/jinja_differential.py: chats, features of the language, random ones."""

CHAT = [
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    "{%- if messages and messages[0].role == 'system' -%}\n{%- set system = messages[0].content -%}\n"
    "{%- set rest = messages[1:] -%}\n{%- else -%}\n{%- set system = 'Be brief.' -%}\n{%- set rest = messages -%}\n"
    "{%- endif -%}\n{{ bos_token }}[SYS]{{ system }}[/SYS]\n{%- for m in rest -%}\n"
    "{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('roles must alternate: ' ~ m.role) }}"
    "{%- endif -%}\n{{ '[IN]' ~ m.content ~ '[/IN]' if m.role == 'user' else m.content ~ eos_token }}\n{%- endfor -%}",
    "{% set ns = namespace(first=true, count=0) %}{% for m in messages if m.role != 'system' %}"
    "{% set ns.count = ns.count + 1 %}{{ '' if ns.first else '\\n' }}{{ loop.index }}. {{ m['role'] | upper }}: "
    "{{ m['content'] | trim if m['content'] is string else '-' }}{% set ns.first = false %}{% "
    "endfor %}\n{{ ns.count }}",
    "{%- macro text(c) -%}{%- if c is string -%}{{ c }}{%- elif c is none -%}{%- else -%}{%- for p in c -%}"
    "{%- if p.type == 'text' -%}{{ p.text }}{%- endif -%}{%- endfor -%}{%- endif -%}{%- endmacro -%}"
    "{%- for m in messages -%}<{{ m.role }}>{{ text(m.content) }}</{{ m.role }}>{%- endfor -%}",
    "{% if tools %}# Tools\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}{% endif %}{% for m in messages %}"
    "{% if m.tool_calls %}{% for c in m.tool_calls %}<call>{{ {'name': c.function.name, 'arguments': "
    "c.function.arguments} | tojson(indent=2) }}</call>{% endfor %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "{%- for m in messages %}\n  {%- if m.role == 'assistant' and m.content is string and '</think>' in m.content %}\n"
    "    {%- set parts = m.content.split('</think>') %}\n    {{- parts[-1].lstrip('\\n') }}\n"
    "  {%- elif m.content is string %}\n    {{- m.content }}\n  {%- endif %}\n{%- endfor %}",
    "{% for m in messages | selectattr('role', 'equalto', 'user') %}{{ loop.index }}/{{ loop.length }} "
    "{{ m.content }}{{ '' if loop.last else ' | ' }}{% else %}nobody{% endfor %}",
    "{% for role, group in messages | groupby('role') %}{{ role }}: {{ group | length }};{% endfor %}",
    "{{ messages | map(attribute='role') | join(', ') }}\n{{ messages | map(attribute='content') | list | tojson }}",
    "{{ (messages | last).role if messages else 'empty' }}{{ (messages | first).role if messages }}",
    "{% for m in messages | reverse %}{{ m.role[:1] }}{% if loop.index >= 3 %}{% break %}{% endif %}{% endfor %}",
    "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}[{{ m.content | default('-', true) }}]"
    "{% endfor %}",
    "{{ strftime_now('%d %B %Y, %H:%M') }}\n{% generation %}{{ messages | length }}{% endgeneration %}",
    "{% if tools is not none and tools %}{{ tools[0].function.parameters.properties | dictsort | list | length }}"
    "{% for name, p in tools[0].function.parameters.properties.items() %}{{ name }}:{{ p.type if p.type is string else "
    "p.type | join('|') }};{% endfor %}{% endif %}",
    "{% macro dump(v, d=0) %}{% if v is mapping %}{% for k, x in v.items() %}{{ '  ' * d }}{{ k "
    "}}:\n{{ dump(x, d + 1) }}"
    "{% endfor %}{% elif v is iterable and v is not string %}{% for x in v %}{{ dump(x, d + 1) }}{% endfor %}{% else %}"
    "{{ '  ' * d }}{{ v }}\n{% endif %}{% endmacro %}{{ dump(tools or []) }}",
    "{% set roles = {'user': 'U', 'assistant': 'A', 'system': 'S'} %}{% for m in messages %}"
    "{{ roles.get(m.role, '?') }}{{ roles[m.role] }}{{ m.role in roles }}{% endfor %}",
    "{% for m in messages %}{% if m.content is string %}{{ m.content | length }},{{ m.content | wordcount }},"
    "{{ m.content.count(' ') }},{{ m.content | replace('\\n', '/') | truncate(12) }};{% endif %}{% endfor %}",
    "{% call(x) each(messages) %}({{ x.role }}){% endcall %}{% macro each(l) %}{% for i in l %}{{ "
    "caller(i) }}{% endfor %}"
    "{% endmacro %}",
    "{% macro each(l) %}{% for i in l %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(x) each(messages) %}"
    "({{ x.role }}){% endcall %}",
    "{% filter upper %}{% for m in messages %}{{ m.role }} {% endfor %}{% endfilter %}{% set t %}{{ bos_token }}x"
    "{% endset %}{{ t }}{{ t | length }}",
]

FEATURES = [
    "{% set bos_token %}[{{ bos_token }}]{% endset %}{{ bos_token }}|{% set t %}{{ eos_token }}{% endset %}{{ t }}",
    "{% for m in messages %}{{ eos_token }}{% endfor %}{% set eos_token = 'x' %}{% for m in messages %}{{ eos_token }}"
    "{% endfor %}{% macro m() %}{{ bos_token }}{% endmacro %}{{ m() }}{% set bos_token %}<{{ m() }}>"
    "{% endset %}{{ m() }}",
    "{% for m in messages %}{% set tools %}({{ tools }}{{ loop.index }}){% endset %}{{ tools }}{% if loop.first %}"
    "{% set bos_token %}{{ bos_token }}!{% endset %}{% else %}{{ bos_token }}{% endif %}{{ bos_token }}{% endfor %}",
    "{% filter upper %}{{ bos_token }}{% endfilter %}{% if messages %}{% set bos_token = 'a' %}{% elif tools %}"
    "{% set bos_token = 'b' %}{% else %}{% set bos_token = 'c' %}{% endif %}{{ bos_token }}{% with eos_token = 1 %}"
    "{% set eos_token %}{{ eos_token }}2{% endset %}{{ eos_token }}{% endwith %}{{ eos_token }}",
    "  {% if messages %}  \n  a\n  {%- else %}\n b {% endif +%}\n c\n{#- x -#}\n d {% raw %}{{ x }}{% endraw %}\n",
    "{% for m in messages %}\n    {{- m.role -}}\n{% endfor %}\n\n{%+ if true %} y{% endif %}\n",
    "{{ messages | length // 2 }} {{ messages | length / 4 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 7.5 % 2 }}",
    "{% for m in messages %}{% if m.content is string %}{{ m.content.title() }}|{{ m.content | title }}|"
    "{{ m.content.capitalize() }}|{{ m.content.swapcase() }};{% endif %}{% endfor %}",
    "{% for m in messages %}{% if m.content is string %}{{ m.content.split() }}|{{ m.content.split('\\n', 1) }}|"
    "{{ m.content.rsplit(' ', 1) }}|{{ m.content.splitlines() }}|{{ m.content.partition('.') }};{% "
    "endif %}{% endfor %}",
    "{% for m in messages %}{% if m.content is string %}{{ m.content | tojson(ensure_ascii=true) }}|"
    "{{ m.content | escape }}|{{ m.content | urlencode }};{% endif %}{% endfor %}",
    "{% for m in messages %}{{ m }}{% endfor %}",
    "{% for m in messages %}{{ m | tojson(sort_keys=true, separators=(',', ':')) }}{{ m.items() | list }}{% endfor %}",
    "{% for m in messages %}{% if m.content is string %}{{ m.content[::-1] }}|{{ m.content[1:5] "
    "}}|{{ m.content[-3:] }}|"
    "{{ m.content[0] }}|{{ m.content[99] is defined }};{% endif %}{% endfor %}",
    "{{ messages | map(attribute='role') | unique | sort | join('-') }}{{ messages | map('length') | list }}",
    "{{ messages | map(attribute='content') | select('string') | map('length') | sum }}"
    "{{ messages | rejectattr('content', 'none') | list | length }}{{ messages | batch(2) | list | length }}",
    "{% set x = 1 %}{% for m in messages %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}{{ m is defined }}",
    "{% for m in messages %}{{ loop.cycle('a', 'b', 'c') }}{{ loop.changed(m.role) }}{{ loop.previtem.role }}"
    "{{ loop.nextitem.role if not loop.last }}{{ loop.revindex }}{{ loop.depth }};{% endfor %}",
    "{% with a = 1, b = messages | length %}{{ a + b }}{% endwith %}{{ a is defined }}{% block z %}{{ bos_token }}"
    "{% endblock %}",
    "{{ [1, 2.5, none, true, 'x', \"it's\", {'k': (1,)}, []] }}{{ {'a': 1} == {'a': 1.0} }}{{ 1 in [true] }}",
    "{{ '%s has %d and %.2f%%' % ('é', messages | length, 2.345) }}{{ '{0}-{1:>5}-{x!r}'.format(1, 'a', x='q') }}",
    "{{ 'a-b_c'.replace('-', '').removesuffix('c').zfill(6).center(12, '*') }}{{ ' x '.strip() ~ 1 ~ none ~ 1.0 }}",
    "{% for m in messages recursive %}{{ m.role if m is mapping else m }}{% if m is mapping and m.tool_calls %}"
    "<{{ loop(['c', 'd']) }}>{% endif %}{% endfor %}",
    "{% for m in messages %}{{ m.content if m.content is string and m.content | length < 20 else m.content | string | "
    "truncate(15, true, '~', 0) }}|{{ m.content | indent(2, true) if m.content is string }};{% endfor %}",
    "{{ undefined_thing }}{{ undefined_thing is defined }}{{ undefined_thing | default('d') }}{{ enable_thinking }}"
    "{{ (enable_thinking is defined and enable_thinking is false) }}{{ messages[0].nothing }}{{ "
    "messages[0].content.x }}",
]

TEMPLATES = CHAT + FEATURES
assert len(TEMPLATES) == 44

NAMES = ["a", "b", "s", "t", "l", "d", "users", "n", "f", "missing"]
TEXT_FILTERS = ["upper", "lower", "trim", "title", "capitalize", "string", "replace('a', 'bb')", "length", "e",
                "tojson", "wordcount", "truncate(5)", "indent(2)", "reverse", "list", "first", "last", "urlencode",
                "default('z')", "center(9)", "int", "float", "striptags", "safe", "wordwrap(6)", "wordwrap(4, false)",
                "wordwrap(9, wrapstring='|')", "truncate(7, true, '~', 1)", "indent('> ', true)",
                "replace('l', 'L', 1)", "wordwrap(7, break_on_hyphens=false)",
                "int(7, 16)", "float(0.5)", "forceescape", "safe | list", "safe | first", "count", "d('y', true)",
                "format(1, 'x')", "tojson(indent=1)", "trim('ho')"]
LIST_FILTERS = ["length", "first", "last", "join('-')", "list", "reverse | list", "sort", "unique | list", "sum", "max",
                "min", "tojson", "map('string') | list", "select('number') | list", "reject('odd') | list",
                "batch(2) | list", "slice(2) | list", "map('abs') | list", "string", "d('x')", "pprint",
                "sort(reverse=true)", "sort(attribute='age') | list", "map(attribute='name') | list",
                "selectattr('age', 'gt', 26) | list",
                "rejectattr('name') | list", "groupby('age') | list", "batch(3, 0) | list", "slice(3, 'z') | list",
                "sum(start=1)", "max(attribute='age')", "unique(attribute='age') | list", "dictsort",
                "dictsort(by='value')", "items | list", "join(', ', attribute='name')", "tojson(sort_keys=true)",
                "map('default', 0) | list", "map('upper') | join", "select('in', 'abc') | list", "round(1)", "abs",
                "xmlattr"]
TESTS = ["defined", "none", "string", "number", "mapping", "iterable", "sequence", "odd", "even", "true", "boolean",
         "integer", "float", "in [1, 2]", "eq 1", "divisibleby 2", "sameas none", "upper", "callable", "undefined",
         "lower", "false", "ne 1", "gt 1", "le 2", "filter", "test", "escaped"]
METHODS = ["strip()", "upper()", "split()", "split('a')", "startswith('h')", "find('o')", "title()", "isdigit()",
           "splitlines()", "replace('l', '')", "count('l')", "partition('l')", "zfill(8)", "encode", "get('x')",
           "items() | list", "keys() | list", "index(1)", "format(1)", "join(['a', 'b'])", "isalpha()",
           "rsplit(' ', 1)", "lower()", "casefold()", "swapcase()", "capitalize()", "lstrip('hA')", "rstrip()",
           "ljust(7, '.')",
           "rjust(7)", "center(8, '*')", "expandtabs(4)", "endswith(('d', 'a'))", "rfind('l')", "rpartition('o')",
           "isupper()", "islower()", "isspace()", "isalnum()", "isnumeric()", "removeprefix('h')", "removesuffix('d')",
           "splitlines(true)", "split(none, 1)", "split(maxsplit=1)", "get('y', 'n')", "values() | list", "index('l')",
           "istitle()", "isidentifier()", "isascii()", "copy()"]
SIGNS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">=", "and", "or", "in", "not in", "**"]


def expression(rng, depth=0):
    """A random expression; many are errors, which is a case, too."""
    kind = rng.randrange(20 if depth < 2 else 4)
    inner = lambda: expression(rng, depth + 1)  # noqa: E731  (short, and used ten times)
    if kind in (0, 1):
        return rng.choice(NAMES)
    if kind == 2:
        return rng.choice(["0", "1", "2", "-3", "1.5", "-0.5", "true", "none", "'hello'", "'a b'", "''", "[]", "{}",
                           "'Ünï'", "'well-known - off--line'", "10", "0.1", "[1, 2, 3]",
                           "{'x': 1, 'y': [2]}", "(1, 'q')", "1e3"])
    if kind == 3:
        return rng.choice(["l[0]", "d.x", "d['y']", "users[0].name", "s[1:3]", "l[::-1]", "s[-1]", "users[-1]['age']",
                           "d.nothing", "l[9]", "range(3) | list", "dict(a=1)", "s[::2]", "t.k"])
    if kind in (4, 5):
        return f"({inner()}) | {rng.choice(TEXT_FILTERS)}"
    if kind in (6, 7):
        return f"({inner()}) | {rng.choice(LIST_FILTERS)}"
    if kind == 8:
        return f"({inner()}) is {rng.choice(['', 'not '])}{rng.choice(TESTS)}"
    if kind in (9, 10):
        return f"{inner()} {rng.choice(SIGNS)} {inner()}"
    if kind == 11:
        return f"({inner()} if {inner()} else {inner()})"
    if kind == 12:
        return f"({inner()}).{rng.choice(METHODS)}"
    if kind == 13:
        return f"[{inner()}, {inner()}]"
    if kind == 14:
        return f"{{'k': {inner()}}}"
    if kind == 15:
        return f"not {inner()}"
    if kind == 16:
        return rng.choice([f"-{inner()}", f"+({inner()})", f"({inner()}, {inner()})", f"dict(k={inner()})",
                           f"{inner()} < {inner()} <= {inner()}", f"namespace(v={inner()}).v", f"[{inner()}][0]"])
    if kind == 17:
        pair = rng.choice(["'%s|%5s|%-4s|' % ({}, {}, 1)", "'{{}}-{{:>4}}'.format({}, {})", "'%d %.2f' % ({}, {})",
                           "'%r' % [{}, {}]", "'{{0!r}} {{1!s:^9}}'.format({}, {})"])
        return pair.format(inner(), inner())
    if kind == 18:
        return rng.choice(["lipsum is callable", f"range({inner()}) | list", f"range(5, {inner()}, -1) | list",
                           f"cycler('a', {inner()}).next()", f"joiner({inner()})()", "loop.index", "loop.previtem",
                           "loop.cycle('x', 'y')", "varargs", "caller is defined", "m is defined",
                           f"({inner()})[{inner()}]", f"{rng.choice(NAMES)}[:{inner()}]",
                           f"({inner()}).{rng.choice(NAMES)}"])
    return f"({inner()}) | map({rng.choice(['upper', 'length', 'string', 'list', 'first', 'int'])!r}) | list"


def tag(rng, word):
    return f"{{%{rng.choice(['', '-', '+'])} {word} {rng.choice(['', '-'])}%}}"


def statement(rng, depth=0):
    body = lambda: "".join(statement(rng, depth + 1) for _ in range(rng.randint(1, 2)))  # noqa: E731
    kind = rng.randrange(20 if depth < 2 else 5)
    if kind in (0, 1, 2):
        return f"{{{{{rng.choice(['', '-'])} {expression(rng)} {rng.choice(['', '-'])}}}}}"
    if kind in (3, 4):
        return rng.choice(["text", " ", "\n", "  \n", "\n\n", "é", "{# note #}", "x\n  ", "{{ '{{' }}"])
    if kind in (5, 6):
        return (tag(rng, f"if {expression(rng)}") + body() + rng.choice(["", tag(rng, "else") + body()]) +
                tag(rng, "endif"))
    if kind in (7, 8):
        loop = rng.choice(["{{ loop.index }}", "{{ loop.last }}", "{{ x }}", "{{ loop.length }}", ""])
        extra = rng.choice(["", "", f" if {expression(rng, 2)}"])
        return tag(rng, f"for x in {rng.choice(['l', 'd', 's', 'users', 'range(3)', expression(rng, 2)])}{extra}") + \
            loop + body() + rng.choice(["", tag(rng, "else") + body()]) + tag(rng, "endfor")
    if kind == 9:
        name = rng.choice(["a", "b", "q", "a, b", "loop", "ns.v", "m"])
        return tag(rng, f"set {name} = {expression(rng)}")
    if kind == 10:
        name = rng.choice(["a", "q", "a | upper", "q | trim | length"])
        return tag(rng, f"set {name}") + body() + tag(rng, "endset")
    if kind == 11:
        return tag(rng, "macro m(x, y=2)") + body() + "{{ x }}{{ y }}" + tag(rng, "endmacro") + \
            f"{{{{ m({expression(rng, 2)}) }}}}"
    if kind == 12:
        return tag(rng, f"with b = {expression(rng, 2)}") + body() + tag(rng, "endwith")
    if kind == 13:
        name = rng.choice(["upper", "trim", "title", "length", "replace('a', 'o') | indent(1)", "wordwrap(5)"])
        return tag(rng, f"filter {name}") + body() + tag(rng, "endfilter")
    if kind == 14:
        return (tag(rng, "macro each(items, sep='-')") + "{% for i in items %}{{ caller(i) }}{{ sep }}{% endfor %}" +
                tag(rng, "endmacro") + tag(rng, f"call(x) each({expression(rng, 2)})") + body() + tag(rng, "endcall"))
    if kind == 15:
        return ("{% set ns = namespace(v=0) %}" + tag(rng, f"for x in {expression(rng, 2)}") +
                rng.choice(["{% set ns.v = ns.v + loop.index %}", "{% set ns.v = x %}", "{% set ns.w = 1 %}"]) +
                body() +
                tag(rng, "endfor") + "{{ ns.v }}")
    if kind == 16:
        step = rng.choice([f"{{% if {expression(rng, 2)} %}}{{% break %}}{{% endif %}}",
                           "{% if loop.index is even %}{% continue %}{% endif %}",
                           "{% if x == 2 %}{% break %}{% endif %}"])
        return tag(rng, f"for x in {rng.choice(['l', 's', '[1, 2, 3]', 'users'])}") + body() + step + body() + \
            tag(rng, "endfor")
    if kind == 17:
        return (tag(rng, f"for x in {rng.choice(['l', 'd.y', '[[1, [2]], 3]', 'users'])} recursive") + "<{{ x }}" +
                "{% if x is iterable and x is not string and x is not mapping %}{{ loop(x) }}{% endif %}>" +
                tag(rng, "endfor"))
    if kind == 18:
        pairs = rng.choice(["d.items()", "d | items", "t.items()", "l", expression(rng, 2)])
        return (tag(rng, f"for k, v in {pairs}") +
                "{{ k }}={{ v }}{{ loop.revindex0 }}" + body() + tag(rng, "endfor"))
    return (tag(rng, f"if {expression(rng)}") + body() + tag(rng, f"elif {expression(rng, 2)}") + body() +
            tag(rng, "else") + body() + tag(rng, "endif"))


def random_template(rng):
    return "".join(statement(rng) for _ in range(rng.randint(1, 3)))


def random_chat_template(rng):
    """A template as models have them: control tokens around the turns of a chat, with the parts that a seed draws."""
    left, right = rng.choice([("<|im_start|>", "<|im_end|>"), ("[INST] ", " [/INST]"), ("<start_of_turn>", "<end>"),
                              ("<|start_header_id|>", "<|eot_id|>"), ("### ", "")])
    name = rng.choice(["message", "m", "msg"])
    role, content = rng.choice([(f"{name}.role", f"{name}.content"), (f"{name}['role']", f"{name}['content']")])
    dash = rng.choice(["", "-"])  # before and behind most tags
    open_, close = "{%" + dash + " ", " " + rng.choice(["", dash]) + "%}" + rng.choice(["", "\n"])

    def say(text):
        return "{{" + dash + " " + text + " }}"

    def do(text):
        return open_ + text + close
    parts = [rng.choice(["", say("bos_token"), "{# chat #}\n"])]
    macro = rng.random() < 0.4
    shown = content
    if macro:
        parts += [do("macro shown(c)"), do("if c is string"), say("c"), do("elif c is iterable"), do("for p in c"),
                  do("if p.type == 'text'"), say(rng.choice(["p.text", "p['text'] | trim"])), do("endif"), do("endfor"),
                  do("endif"), do("endmacro")]
        shown = f"shown({content})"
    elif rng.random() < 0.5:
        shown = f"({content} or '') | trim" if rng.random() < 0.5 else f"{content} | default('', true)"
    loop = rng.choice(["messages", "messages", "loop_messages"])
    if loop == "loop_messages":
        parts += [do("if messages and messages[0].role == 'system'"), do("set system_message = messages[0].content"),
                  do("set loop_messages = messages[1:]"), do("else"), do("set system_message = 'Be helpful.'"),
                  do("set loop_messages = messages"), do("endif"),
                  say(f"'{left}system\\n' ~ system_message ~ '{right}\\n'")]
    if rng.random() < 0.6:
        json = rng.choice(["tojson", "tojson(indent=4)", "tojson(indent=2, ensure_ascii=false)", "string"])
        parts += [do("if tools"), rng.choice(["# Tools\n", "", "<tools>"]), do("for tool in tools"),
                  say(rng.choice([f"tool | {json}", f"tool.function | {json}", f"'- ' ~ tool.function.name ~ ': ' ~ "
                                  f"tool.function.description | {rng.choice(['trim', 'upper', 'wordwrap(9)'])}"])),
                  do("if not loop.last"), say("',\\n'"), do("endif"), do("endfor"), do("endif")]
    if rng.random() < 0.3:
        parts += [do("set ns = namespace(count=0, last='')"), do(f"for {name} in {loop} | reverse"),
                  do(f"if ns.last == '' and {role} == 'user'"), do(f"set ns.last = {content} | string"), do("endif"),
                  do("set ns.count = ns.count + 1"), do("endfor"), say("ns.count ~ '/' ~ ns.last[:9]")]
    parts.append(do(f"for {name} in {loop}" + rng.choice(["", "", f" if {role} != 'tool'"])))
    if rng.random() < 0.3:
        parts += [do(f"if ({role} == 'user') != (loop.index0 % 2 == 0)"),
                  say("raise_exception('roles must alternate: ' ~ " + role + ")"), do("endif")]
    if rng.random() < 0.4:
        parts += [do(f"if {role} == 'assistant' and {content} is string and '</think>' in {content}"),
                  do(f"set thought = {content}.split('</think>')[0].split('<think>')[-1].strip('\\n')"),
                  do(f"set rest = {content}.split('</think>')[-1].lstrip('\\n')"),
                  say("'<think>' + thought + '</think>' + rest"), do("continue"), do("endif")]
    calls = rng.random() < 0.5
    if calls:
        pick = rng.choice(["call.function", "call['function']"])
        parts += [do(f"if {name}.tool_calls is defined and {name}.tool_calls"), do(f"for call in {name}.tool_calls"),
                  say(rng.choice([f"{{'name': {pick}.name, 'arguments': {pick}.arguments}} | tojson",
                                  f"'<call>' ~ {pick}.name ~ ' ' ~ {pick}.arguments | tojson ~ '</call>'",
                                  f"{pick}.arguments if {pick}.arguments is string else {pick}.arguments | tojson"])),
                  do("endfor"), do("else")]
    body = [say(f"'{left}' ~ {role} ~ '\\n'"), say(shown), say(f"'{right}' + eos_token" if rng.random() < 0.3
                                                                  else f"'{right}\\n'")]
    if rng.random() < 0.3:
        body = [do(f"if {role} in ['user', 'system']"), *body, do(f"elif {role} == 'assistant'"), "{% generation %}",
                say(shown), "{% endgeneration %}", do("else"), say(f"{role} | upper ~ ': ' ~ {content}"), do("endif")]
    parts += body + ([do("endif")] if calls else []) + [do("endfor"), do("if add_generation_prompt")]
    parts.append(say(f"'{left}assistant\\n'"))
    if rng.random() < 0.4:
        parts += [do("if enable_thinking is defined and not enable_thinking"), say("'<think>\\n\\n</think>'"),
                  do("endif")]
    parts += [do("endif"), rng.choice(["", "\n", say("strftime_now('%d %b %Y')")])]
    return "".join(parts)


def random_context(rng):
    return {"a": rng.choice([0, 1, 5, -2, 2.5]), "b": rng.choice(["", "bee", None, [3, 1, 2]]),
            "s": rng.choice(["hello world", "Alpha\nBeta\n", "", " ünïcode 日本 "]), "t": {"k": "v"},
            "l": rng.choice([[1, 2, 3], [], ["b", "A", "c"], [1, "a", None]]), "n": None, "f": rng.random() < 0.5,
            "d": rng.choice([{"x": 1, "y": [2, 3]}, {}, {"x": {"z": None}}]),
            "users": [{"name": "Al", "age": 30}, {"name": "Bo", "age": 25}]}
