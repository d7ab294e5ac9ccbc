// SPDX-License-Identifier: Apache-2.0
// Chat templates: the Jinja programs in models (`chat_template` of tokenizer_config.json, `tokenizer.chat_template` of
// GGUF) that turn a conversation into a prompt. Equal to Python's jinja2 3.1 as transformers configures it (immutable
// sandbox, trim_blocks, lstrip_blocks, loop controls, its tojson, raise_exception, strftime_now).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/tokenizer.h"

namespace unimax {

namespace jinja {
struct Program;
}

struct Message {
  std::string role;     // "system", "user", "assistant", "tool"
  std::string content;  // UTF-8; untrusted
  // Further members as a JSON object ("" for none): {"tool_calls": [...]}. A member named role or content replaces the
  // field above, so that content may also be null or a list of parts.
  std::string extra_json;
};

struct ChatInput {
  std::vector<Message> messages;
  std::string messages_json;  // instead of `messages`: a JSON list of objects; untrusted
  bool add_generation_prompt = true;
  std::string bos_token, eos_token;  // trusted
  std::string tools_json;            // a JSON list, "" for none
  std::string documents_json;        // a JSON list, "" for none
  std::string extra_json;  // further variables as a JSON object (chat_template_kwargs), "" for none; untrusted
  int64_t now = -1;  // what strftime_now shows: seconds of wall-clock time since 1970; -1: the local time of the call
};

// A prompt and which of its bytes the template wrote.
struct Rendered {
  struct Range {
    size_t begin, end;  // bytes [begin, end) of text
  };
  std::string text;
  std::vector<Range> untrusted;  // ascending, not touching: bytes that came from messages, tools or other input

  // The text as pieces for Tokenizer::EncodeParts; they point into `text`.
  std::vector<TextPiece> Pieces() const;
};

// Limits of one rendering; passing one is an error, never a crash.
struct TemplateBudget {
  int64_t steps = 1'000'000;        // nodes evaluated and elements visited
  int64_t output_bytes = 16 << 20;  // of the rendered text
  // Of memory: strings and containers are charged as they are made and never given back; a third is for what the
  // allocator adds.
  int64_t heap_bytes = 64 << 20;
  int depth = 64;  // nested calls, loops and containers
};

class ChatTemplate {
 public:
  // Errors: kBadModel with line, column and reason.
  static Result<ChatTemplate> Parse(std::string source);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // Errors: kBadModel; the text of raise_exception is passed on as it stands. Any number of threads may render at once.
  Result<Rendered> Render(const ChatInput& input) const;
  Result<Rendered> Render(const std::vector<Message>& messages, bool add_generation_prompt, std::string_view bos_token,
                          std::string_view eos_token) const;
  // Renders with exactly the variables of a JSON object, all of it untrusted.
  Result<Rendered> RenderJson(std::string_view context_json, int64_t now = -1, const TemplateBudget& budget = {}) const;

 private:
  explicit ChatTemplate(std::unique_ptr<const jinja::Program> program);
  std::unique_ptr<const jinja::Program> program_;
};

}  // namespace unimax
