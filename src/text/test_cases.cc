// SPDX-License-Identifier: Apache-2.0
#include "text/test_cases.h"

#include "text/test_files.h"

namespace unimax {
namespace {

using json = nlohmann::ordered_json;

constexpr int kShown = 3;

// What a stream decoder gives for `ids`, put together.
std::string Streamed(const Tokenizer& t, const std::vector<int>& ids, bool skip) {
  StreamDecoder stream(t, skip);
  std::string out;
  for (int id : ids) out += stream.Add(id);
  return out + stream.Flush();
}

// Notes a difference; true when there is none.
bool Same(const char* what, const json& got, const json& line, const char* member, CaseReport& report) {
  const json& want = line.is_array() ? line[1] : line[member];
  if (got == want) return true;
  if (report.wrong < kShown) {
    const auto spelled = [](const json& j) { return j.dump(-1, ' ', true, json::error_handler_t::replace); };
    report.shown += fmt::format("  {} of {}\n  got  {}\n  want {}\n", what,
                                spelled(line.is_array()         ? line[0]
                                        : line.contains("text") ? line["text"]
                                                                : line["decode_only"]),
                                spelled(got), spelled(want));
  }
  return false;
}

bool CheckLine(const Tokenizer& t, const json& line, CaseReport& report) {
  if (line.is_array()) return Same("ids", t.Encode(line[0].get<std::string>(), false), line, "", report);
  bool same = true;
  if (line.contains("text")) {
    const auto text = line["text"].get<std::string>();
    same &= Same("ids", t.Encode(text, false), line, "ids", report);
    if (line.contains("ids_special")) {
      same &= Same("ids with special tokens", t.Encode(text, true), line, "ids_special", report);
    }
  }
  const bool two = line.contains("decode_skip");
  const char* member = !line.contains("text") ? "decode_only" : two ? "ids_special" : "ids";
  const auto ids = line[member].get<std::vector<int>>();
  for (const char* wanted : {"decode", "decode_skip"}) {
    if (!line.contains(wanted)) continue;
    const bool skip = !two || wanted == std::string_view("decode_skip");
    same &= Same(wanted, t.Decode(ids, skip), line, wanted, report);
    same &= Same("stream", Streamed(t, ids, skip), line, wanted, report);
  }
  return same;
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> LoadTestTokenizer(const std::string& path) {
  const auto bytes = ReadTestFile(path);
  if (!bytes) return IoError("cannot read {}", path);
  const std::string_view name = std::string_view(path).substr(0, path.size() - (path.ends_with(".gz") ? 3 : 0));
  if (name.ends_with(".json")) return Tokenizer::FromJson(*bytes);
  if (name.ends_with(".gguf")) {
    const auto vocab = ReadGgufVocab(*bytes);
    if (!vocab) return BadModel("{} is no GGUF file", path);
    return Tokenizer::FromVocab(*vocab);
  }
  SentencePieceOptions options;
  options.add_eos = true;
  options.match_control = false;
  return Tokenizer::FromSentencePiece(*bytes, options);
}

CaseReport CheckCases(const Tokenizer& tokenizer, const std::vector<json>& lines) {
  CaseReport report;
  for (const json& line : lines) {
    ++report.cases;
    if (!CheckLine(tokenizer, line, report)) ++report.wrong;
  }
  return report;
}

}  // namespace unimax
