// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "base/clock.h"
#include "cli/command.h"
#include "cli/input.h"
#include "engine/model_cache.h"
#include "engine/model_text.h"

namespace unimax {
namespace {

constexpr size_t kMaxInput = size_t{1} << 30;

struct TokenizeOptions {
  std::string model, text, file;
  bool has_text = false, decode = false, count = false, pieces = false, no_special = false, json = false;
  int repeat = 1;
};

// Ids between spaces, commas, line ends and brackets.
Result<std::vector<int>> ReadIds(const std::string& text, int vocab) {
  constexpr std::string_view kBetween = " ,\t\r\n[]";
  std::vector<int> ids;
  for (size_t at = text.find_first_not_of(kBetween); at != std::string::npos;) {
    const size_t end = std::min(text.find_first_of(kBetween, at), text.size());
    int id = -1;
    const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, id);
    if (error != std::errc() || stop != text.data() + end || id < 0 || id >= vocab)
      return UsageError("'{}' is not a token id: ids are whole numbers from 0 to {}",
                        text.substr(at, std::min<size_t>(end - at, 40)), vocab - 1);
    ids.push_back(id);
    at = text.find_first_not_of(kBetween, end);
  }
  return ids;
}

std::string Rate(size_t bytes, double ms) { return fmt::format("{:.2f}", static_cast<double>(bytes) / ms * 1e-3); }

// Runs `act` as often as asked; the median time in milliseconds.
template <class F>
double Median(int repeat, F act) {
  std::vector<double> times;
  for (int i = 0; i < repeat; ++i) {
    const double start = NowMilliseconds();
    act();
    times.push_back(NowMilliseconds() - start);
  }
  std::sort(times.begin(), times.end());
  return std::max(times[times.size() / 2], 1e-6);
}

Status Decode(const TokenizeOptions& options, const ModelText& text, const std::string& input) {
  UM_ASSIGN_OR_RETURN(const std::vector<int> ids, ReadIds(input, text.tokenizer->vocab_size()));
  std::string decoded;
  const double ms = Median(options.repeat, [&] { decoded = text.tokenizer->Decode(ids, options.no_special); });
  if (options.json) {
    PrintLine(fmt::format("{{\"text\": {}, \"tokens\": {}, \"ms\": {:.4f}, \"mb_s\": {}}}", JsonString(decoded),
                          ids.size(), ms, Rate(decoded.size(), ms)));
    return {};
  }
  std::fwrite(decoded.data(), 1, decoded.size(), stdout);  // not a byte more
  return {};
}

Status Encode(const TokenizeOptions& options, const ModelText& text, const std::string& input) {
  std::vector<int> ids;
  const double ms = Median(options.repeat, [&] { ids = text.EncodeText(input, !options.no_special); });
  const auto piece = [&](int id) { return std::string(text.tokenizer->PieceOf(id)); };
  if (options.json) {
    std::string line = fmt::format("{{\"tokens\": {}, \"bytes\": {}, \"ms\": {:.4f}, \"mb_s\": {}", ids.size(),
                                   input.size(), ms, Rate(input.size(), ms));
    if (!options.count) {
      std::vector<std::string> pieces;
      for (int id : ids) pieces.push_back(JsonString(piece(id)));
      line += fmt::format(", \"ids\": [{}], \"pieces\": [{}]", fmt::join(ids, ", "), fmt::join(pieces, ", "));
    }
    PrintLine(line + "}");
  } else if (options.repeat > 1) {
    PrintLine(fmt::format("{} tokens of {} bytes: {} MB/s, {:.3f} ms, median of {}", ids.size(), input.size(),
                          Rate(input.size(), ms), ms, options.repeat));
  } else if (options.count) {
    PrintLine(fmt::format("{}", ids.size()));
  } else if (options.pieces) {
    for (int id : ids) PrintLine(fmt::format("{:>8} {}", id, JsonString(piece(id))));
  } else {
    PrintLine(fmt::format("{}", fmt::join(ids, " ")));
  }
  return {};
}

Status Tokenize(const TokenizeOptions& options) {
  UM_ASSIGN_OR_RETURN(const std::string path, ResolveModel(options.model));
  UM_ASSIGN_OR_RETURN(const ModelText text, OpenModelText(path));
  if (text.tokenizer == nullptr) return BadModel("{} has no tokenizer", options.model);
  std::string input = options.text;
  if (!options.has_text) {
    UM_ASSIGN_OR_RETURN(input, ReadInput(options.file, kMaxInput));
  }
  return options.decode ? Decode(options, text, input) : Encode(options, text, input);
}

}  // namespace

std::unique_ptr<Command> AddTokenize(CLI::App& app) {
  auto command = std::make_unique<CommandOf<TokenizeOptions>>(
      app.add_subcommand("tokenize", "cut a text into token ids, or join ids to a text"), &Tokenize);
  CLI::App* tokenize = &command->app();
  TokenizeOptions& options = command->options();
  tokenize->footer(
      "Examples:\n  unimax tokenize demo -p \"Hello world\"\n  unimax tokenize tokenizer.json --file book.txt --count\n"
      "  unimax tokenize demo --decode -p \"19556 905\"\n  unimax tokenize demo --file book.txt --repeat 9 --json\n"
      "Without -p and --file the text comes from standard input.");
  tokenize->add_option("model", options.model, "a file, a folder, a tokenizer.json, or a name in the model cache")
      ->required();
  auto* text = tokenize->add_option("-p,--prompt", options.text, "the text, or with --decode the ids");
  text->each([&options](const std::string&) { options.has_text = true; });
  options.file = "-";
  tokenize->add_option("--file", options.file, "a file with the text or the ids; - for stdin")
      ->default_str("-")
      ->excludes(text);
  auto* decode = tokenize->add_flag("--decode", options.decode, "ids to text");
  tokenize->add_flag("--count", options.count, "only the number of tokens")->excludes(decode);
  tokenize->add_flag("--pieces", options.pieces, "one line a token: its id and its piece of the vocabulary")
      ->excludes(decode);
  tokenize->add_flag("--no-special", options.no_special, "no BOS or EOS around the text; decoding leaves them out");
  tokenize->add_flag("--json", options.json, "one JSON object instead of text");
  tokenize->add_option("--repeat", options.repeat, "do it this often and say how fast it is")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000000));
  return command;
}

}  // namespace unimax
