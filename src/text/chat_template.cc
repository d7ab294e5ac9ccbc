// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <ctime>

#include "text/jinja_interp.h"
#include "text/jinja_parser.h"
#include "text/utf8.h"

namespace unimax {
namespace {

using jinja::Kind;
using jinja::Value;

constexpr size_t kMaxSource = 4u << 20;

// The wall clock's seconds, as if the local zone were UTC.
int64_t LocalNow() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return static_cast<int64_t>(now) + local.tm_gmtoff;
}

Result<Rendered> Finish(const jinja::Program& program, const Value& context, jinja::Interpreter& in) {
  UM_ASSIGN_OR_RETURN(const jinja::Text text, in.Run(program, context));
  Rendered out;
  size_t begin = 0;
  for (const auto& [end, untrusted] : text.Runs()) {
    if (untrusted) out.untrusted.push_back({begin, end});
    begin = end;
  }
  out.text = text.bytes();
  return out;
}

// Copies the members of a JSON object into `dict`.
Status Merge(jinja::Heap& heap, std::string_view json, std::string_view what, const Value& dict) {
  if (json.empty()) return {};
  UM_ASSIGN_OR_RETURN(const Value more, jinja::FromJson(heap, json, true));
  if (!more.Is(Kind::kDict)) return BadModel("{} of the conversation is not a JSON object", what);
  for (const auto& [key, value] : more.dict().items) dict.dict().Set(key, value);
  return {};
}

Result<Value> MessagesOf(jinja::Heap& heap, const ChatInput& input) {
  if (!input.messages_json.empty()) {
    UM_ASSIGN_OR_RETURN(const Value list, jinja::FromJson(heap, input.messages_json, true));
    if (!list.Is(Kind::kList)) return BadModel("the messages are not a JSON list");
    for (const Value& message : list.list().items)
      if (!message.Is(Kind::kDict)) return BadModel("a message is not a JSON object");
    return list;
  }
  const auto untrusted = [&](const std::string& s) { return heap.String(jinja::Text(utf8::Sanitize(s), true)); };
  std::vector<Value> messages;
  for (const Message& m : input.messages) {
    const Value message = heap.Dict();
    message.dict().Set(heap.String("role"), untrusted(m.role));
    message.dict().Set(heap.String("content"), untrusted(m.content));
    UM_RETURN_IF_ERROR(Merge(heap, m.extra_json, "a message", message));
    messages.push_back(message);
  }
  return heap.List(std::move(messages));
}

}  // namespace

std::vector<TextPiece> Rendered::Pieces() const {
  std::vector<TextPiece> pieces;
  const std::string_view all = text;
  size_t at = 0;
  for (const Range& r : untrusted) {
    if (at < r.begin) pieces.push_back({all.substr(at, r.begin - at), true});
    pieces.push_back({all.substr(r.begin, r.end - r.begin), false});
    at = r.end;
  }
  if (at < all.size()) pieces.push_back({all.substr(at), true});
  return pieces;
}

ChatTemplate::ChatTemplate(std::unique_ptr<const jinja::Program> program) : program_(std::move(program)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::Parse(std::string source) {
  if (source.size() > kMaxSource)
    return BadModel("the chat template has {} bytes; at most {} are read", source.size(), kMaxSource);
  UM_ASSIGN_OR_RETURN(auto program, jinja::ParseTemplate(source));
  return ChatTemplate(std::move(program));
}

Result<Rendered> ChatTemplate::Render(const ChatInput& input) const {
  const TemplateBudget budget;
  jinja::Interpreter in(budget, input.now < 0 ? LocalNow() : input.now);
  jinja::Heap& heap = in.heap();
  const Value context = heap.Dict();
  const auto set = [&](std::string_view name, const Value& v) { context.dict().Set(heap.String(name), v); };
  set("tools", Value::None());
  set("documents", Value::None());
  UM_RETURN_IF_ERROR(Merge(heap, input.extra_json, "extra", context));
  UM_ASSIGN_OR_RETURN(const Value messages, MessagesOf(heap, input));
  set("messages", messages);
  if (!input.tools_json.empty()) {
    UM_ASSIGN_OR_RETURN(const Value tools, jinja::FromJson(heap, input.tools_json, true));
    set("tools", tools);
  }
  if (!input.documents_json.empty()) {
    UM_ASSIGN_OR_RETURN(const Value documents, jinja::FromJson(heap, input.documents_json, true));
    set("documents", documents);
  }
  set("add_generation_prompt", Value::Bool(input.add_generation_prompt));
  set("bos_token", heap.String(utf8::Sanitize(input.bos_token)));
  set("eos_token", heap.String(utf8::Sanitize(input.eos_token)));
  return Finish(*program_, context, in);
}

Result<Rendered> ChatTemplate::Render(const std::vector<Message>& messages, bool add_generation_prompt,
                                      std::string_view bos_token, std::string_view eos_token) const {
  ChatInput input;
  input.messages = messages;
  input.add_generation_prompt = add_generation_prompt;
  input.bos_token = bos_token;
  input.eos_token = eos_token;
  return Render(input);
}

Result<Rendered> ChatTemplate::RenderJson(std::string_view context_json, int64_t now,
                                          const TemplateBudget& budget) const {
  jinja::Interpreter in(budget, now < 0 ? LocalNow() : now);
  UM_ASSIGN_OR_RETURN(const Value context, jinja::FromJson(in.heap(), context_json, true));
  if (!context.Is(Kind::kDict)) return BadModel("the template's variables are not a JSON object");
  return Finish(*program_, context, in);
}

}  // namespace unimax
