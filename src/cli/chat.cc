// SPDX-License-Identifier: Apache-2.0
// A conversation: lines in, answers out. Each turn sends the whole conversation again; what it shares with the turn
// before lies in the prefix cache, so only the new lines are computed.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>

#include "base/log.h"
#include "cli/command.h"
#include "cli/kept_prompt.h"
#include "cli/line_editor.h"
#include "cli/sampling_flags.h"
#include "engine/answer.h"
#include "engine/engine.h"
#include "engine/watchdog.h"

namespace unimax {
namespace {

constexpr int kDefaultNewTokens = 512;

constexpr const char* kHelp =
    "/help              this text\n"
    "/system TEXT       how the assistant shall be; without TEXT: as the model is by itself. Begins anew.\n"
    "/reset             forget the conversation, keep /system\n"
    "/retry             answer the last message again\n"
    "/save FILE         write the conversation as JSON, a list of messages\n"
    "/stats             show or hide the figures of each answer\n"
    "/quit              leave (also Ctrl-D)\n"
    "Ctrl-C stops an answer. Alt-Enter, or a \\ at the end of a line, begins another line of the same message.\n"
    "A message that begins with / is written with two: //like this.";

struct ChatOptions {
  ModelOptions model;
  SamplingFlags sampling;
  std::string system, prompt_cache;
  bool quiet = false, stats = false;
};

void Print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// On a terminal what a model says is text: it must not move the cursor, nor anything else that control characters do.
void PrintPlainly(std::string_view text) {
  std::string shown;
  for (const char c : text) {
    const bool control = (static_cast<unsigned char>(c) < 32 && c != '\n' && c != '\t') || c == 127;
    shown.push_back(control ? '?' : c);
  }
  Print(shown);
}

class Chat {
 public:
  Chat(const ChatOptions& options, Model& model, Engine& engine, KeptPrompt& kept)
      : options_(options), model_(model), engine_(engine), kept_(kept), stats_(options.stats) {
    SetSystem(options.system);
  }
  // Returns when the input ends or /quit came. Errors: of the first turn that failed, without a terminal only.
  Status Talk();
  // Keeps the prompt of the last turn. Errors: KeptPrompt::Save.
  Status Keep() { return last_prompt_.empty() ? Status() : kept_.Save(engine_, model_, last_prompt_, last_max_new_); }

 private:
  enum class Next { kGoOn, kLeave };

  LineEditor::Outcome ReadMessage(std::string* message);
  Next Obey(const std::string& line);
  void SetSystem(const std::string& text);
  void Ask(std::string message);
  Status Answered();
  Status Save(const std::string& path) const;
  void Note(const std::string& text);
  void Failed(const Status& status);

  const ChatOptions& options_;
  Model& model_;
  Engine& engine_;
  KeptPrompt& kept_;
  LineEditor editor_;
  bool stats_;
  std::vector<Message> messages_;
  size_t system_messages_ = 0;    // 0 or 1: the first of them
  bool asked_ = false;            // there was a turn
  std::vector<int> last_prompt_;  // of the last turn that was answered
  int last_max_new_ = 0;
  int failures_ = 0;                     // turns and commands
  ErrorKind failed_ = ErrorKind::kNone;  // the first of them
};

Status Chat::Talk() {
  if (editor_.interactive()) {
    Note(fmt::format("{}; {} tokens of context. /help shows the commands, Ctrl-D leaves.", model_.executor().Describe(),
                     model_.context()));
    if (!model_.text().chat_template) Note("The model has no chat template: messages are joined as plain text.");
  }
  std::string message;
  for (;;) {
    const LineEditor::Outcome outcome = ReadMessage(&message);
    if (outcome == LineEditor::Outcome::kEnd) break;
    if (outcome == LineEditor::Outcome::kInterrupted) {
      if (editor_.interactive()) Note("Ctrl-D or /quit leaves.");
      continue;
    }
    if (message.find_first_not_of(" \t\n") == std::string::npos) continue;
    if (message.starts_with("//")) {
      Ask(message.substr(1));
    } else if (message[0] == '/') {
      if (Obey(message) == Next::kLeave) break;
    } else {
      Ask(message);
    }
    if (!engine_.state().failure.ok()) return engine_.state().failure;
  }
  if (editor_.interactive() || failures_ == 0) return {};
  return {failed_, fmt::format("{} of the lines failed, as said above", failures_)};
}

// One message. On a terminal a line that ends with a backslash goes on in the next.
LineEditor::Outcome Chat::ReadMessage(std::string* message) {
  LineEditor::Outcome outcome = editor_.Read("> ", message);
  while (editor_.interactive() && outcome == LineEditor::Outcome::kLine && message->ends_with('\\')) {
    message->back() = '\n';
    std::string more;
    outcome = editor_.Read(". ", &more);
    *message += more;
  }
  return outcome;
}

Chat::Next Chat::Obey(const std::string& line) {
  const size_t space = std::min(line.find_first_of(" \n"), line.size());
  const std::string command = line.substr(0, space);
  std::string rest = line.substr(std::min(space + 1, line.size()));
  rest.erase(0, std::min(rest.find_first_not_of(' '), rest.size()));
  if (command == "/quit" || command == "/exit") return Next::kLeave;
  if (command == "/help") {
    Note(kHelp);
  } else if (command == "/system") {
    SetSystem(rest);
    Note(rest.empty() ? "No system message. The conversation begins anew."
                      : "The system message is set. The conversation begins anew.");
  } else if (command == "/reset") {
    messages_.resize(system_messages_);
    Note("The conversation begins anew.");
  } else if (command == "/retry") {
    if (messages_.size() > system_messages_ && messages_.back().role == "assistant") messages_.pop_back();
    if (messages_.size() == system_messages_) {
      Failed(UsageError("/retry: there is no message yet"));
    } else {
      std::string again = std::move(messages_.back().content);
      messages_.pop_back();
      Ask(std::move(again));
    }
  } else if (command == "/stats") {
    stats_ = !stats_;
    Note(stats_ ? "Figures are shown." : "Figures are hidden.");
  } else if (command == "/save") {
    const Status saved = Save(rest);
    if (!saved.ok()) Failed(saved);
    if (saved.ok()) Note(fmt::format("{} messages saved to {}.", messages_.size(), rest));
  } else {
    Failed(UsageError("there is no command {}: /help lists them", command));
  }
  return Next::kGoOn;
}

void Chat::SetSystem(const std::string& text) {
  messages_.clear();
  if (!text.empty()) messages_.push_back({"system", text, ""});
  system_messages_ = messages_.size();
}

// A turn that fails leaves the conversation as it was.
void Chat::Ask(std::string message) {
  messages_.push_back({"user", std::move(message), ""});
  const Status status = Answered();
  if (status.ok()) return;
  messages_.pop_back();
  Failed(status);
}

Status Chat::Answered() {
  UM_ASSIGN_OR_RETURN(std::vector<int> prompt, model_.EncodeMessages(messages_));
  const auto length = static_cast<int>(prompt.size());
  if (length >= model_.context()) {
    return UsageError("the conversation has {} tokens, the context {}: /reset begins anew, --context makes more room",
                      length, model_.context());
  }
  Request request;
  UM_ASSIGN_OR_RETURN(request.sampling, SamplingOf(options_.sampling, model_));
  UM_ASSIGN_OR_RETURN(request.max_new, MaxNewOf(options_.sampling, model_, length, kDefaultNewTokens));
  Answer answer(model_.tokenizer(), options_.sampling.stops, editor_.interactive() ? &PrintPlainly : &Print);
  if (!asked_) UM_RETURN_IF_ERROR(kept_.Restore(engine_, model_, prompt, request.max_new));
  asked_ = true;
  const int max_new = request.max_new;
  request.prompt = prompt;
  request.sink_stops = !options_.sampling.stops.empty();
  request.sink = &answer;
  std::optional<RawMode> raw;  // so that Ctrl-C is a key, and keys do not show within the answer
  if (editor_.interactive()) raw.emplace();
  UM_ASSIGN_OR_RETURN(const uint64_t id, engine_.Submit(std::move(request)));
  bool cancelled = false;
  while (raw && !answer.WaitFor(0)) {
    if (!editor_.InterruptedWithin(20) || cancelled) continue;
    engine_.Cancel(id);
    cancelled = true;
  }
  answer.Wait();
  raw.reset();
  Print("\n");
  UM_RETURN_IF_ERROR(answer.status());
  last_prompt_ = std::move(prompt);
  last_max_new_ = max_new;
  messages_.push_back({"assistant", answer.text(), ""});
  if (answer.end().reason == EndReason::kCancelled) Note("(stopped)");
  if (answer.end().reason == EndReason::kLength && editor_.interactive()) {
    Note(fmt::format("(ended after {} tokens: -n, or the end of the context)", answer.ids().size()));
  }
  if (stats_) {
    const EndEvent& end = answer.end();
    const double seconds = static_cast<double>(answer.last_token() - answer.first_token()) * 1e-6;
    const double rate = seconds > 0 ? static_cast<double>(answer.ids().size() - 1) / seconds : 0;
    Note(fmt::format("{} prompt tokens, {} of them cached; first token after {:.0f} ms; {} new tokens at {:.1f} tok/s",
                     end.prompt_tokens, end.cached_tokens,
                     answer.first_token() > 0 ? static_cast<double>(answer.first_token() - end.arrived) * 1e-3 : 0.0,
                     answer.ids().size(), rate));
  }
  return {};
}

Status Chat::Save(const std::string& path) const {
  if (path.empty()) return UsageError("/save: give a file name");
  std::ofstream file(path, std::ios::binary);
  file << "[";
  for (const Message& m : messages_) {
    file << (&m == messages_.data() ? "\n" : ",\n") << "  {\"role\": \"" << m.role
         << "\", \"content\": " << JsonString(m.content) << "}";
  }
  file << "\n]\n";
  file.close();
  if (!file) return IoError("{}: cannot write the conversation: is the folder there, and the disk not full?", path);
  return {};
}

// What is not of the conversation goes to stderr, so that stdout holds the answers alone.
void Chat::Note(const std::string& text) {
  if (!options_.quiet) std::fprintf(stderr, "%s\n", text.c_str());
}

void Chat::Failed(const Status& status) {
  std::fprintf(stderr, "unimax: %s\n", std::string(status.text()).c_str());
  if (failures_++ == 0) failed_ = status.kind();
}

Status RunChat(const ChatOptions& options) {
  if (options.quiet || !options.stats) SetLogLevel(LogLevel::kWarning);
  KeptPrompt kept(options.prompt_cache);
  UM_RETURN_IF_ERROR(kept.Create());
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, LoadModel(options.model, !options.quiet));
  UM_RETURN_IF_ERROR(SamplingOf(options.sampling, *model).status());
  UM_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Start(*model));
  const std::unique_ptr<Watchdog> watchdog = WatchGpu(*model, *engine);
  Chat chat(options, *model, *engine, kept);
  const Status talked = chat.Talk();
  if (!engine->state().failure.ok()) return talked;
  const Status saved = chat.Keep();
  return talked.ok() ? saved : talked;
}

}  // namespace

std::unique_ptr<Command> AddChat(CLI::App& app) {
  auto command = std::make_unique<CommandOf<ChatOptions>>(app.add_subcommand("chat", "talk with a model"), &RunChat);
  CLI::App* chat = &command->app();
  ChatOptions& options = command->options();
  chat->footer(
      "Examples:\n  unimax chat demo\n  unimax chat demo --system \"Answer in one sentence.\" --temperature 0.7\n"
      "  printf 'My name is Ada.\\nWhat is my name?\\n' | unimax chat demo -q\n"
      "  unimax chat demo --system \"$(cat rules.txt)\" --prompt-cache rules.kv\n"
      "Without a terminal each line of the input is a message; the answers alone go to stdout.\n"
      "Commands within:\n" +
      std::string(kHelp));
  AddModelOptions(*chat, options.model, true);
  AddSamplingFlags(*chat, options.sampling);
  KeptPrompt::AddFlag(*chat, options.prompt_cache);
  chat->get_option("--max-new-tokens")->description("tokens of an answer (default 512)");
  chat->add_option("--system", options.system, "how the assistant shall be");
  chat->add_flag("--stats", options.stats, "figures of each answer: cached tokens, time, rate");
  chat->add_flag("-q,--quiet", options.quiet, "answers and errors alone");
  return command;
}

}  // namespace unimax
