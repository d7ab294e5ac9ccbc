// SPDX-License-Identifier: Apache-2.0
#include "kernels/plan_table.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace unimax {
namespace {

constexpr std::string_view kFirstLine = "unimax plan 1";
constexpr int kMostCases = 100000;

// FNV-1a: one changed byte always changes it.
uint64_t Hash(std::string_view text, uint64_t hash = 0xcbf29ce484222325u) {
  for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3u;
  return hash;
}

struct Field {
  const char* name;
  int (*get)(const Case&);
  void (*set)(Case*, int);
};
constexpr Field kFields[] = {
    {"m", [](const Case& c) { return c.m; }, [](Case* c, int v) { c->m = v; }},
    {"n", [](const Case& c) { return c.n; }, [](Case* c, int v) { c->n = v; }},
    {"k", [](const Case& c) { return c.k; }, [](Case* c, int v) { c->k = v; }},
    {"flags", [](const Case& c) { return c.flags; }, [](Case* c, int v) { c->flags = v; }},
    {"heads", [](const Case& c) { return c.attention.heads; }, [](Case* c, int v) { c->attention.heads = v; }},
    {"kv_heads", [](const Case& c) { return c.attention.kv_heads; }, [](Case* c, int v) { c->attention.kv_heads = v; }},
    {"dim", [](const Case& c) { return c.attention.head_dim; }, [](Case* c, int v) { c->attention.head_dim = v; }},
    {"tokens", [](const Case& c) { return c.tokens; }, [](Case* c, int v) { c->tokens = v; }},
    {"window", [](const Case& c) { return c.window; }, [](Case* c, int v) { c->window = v; }},
    {"decode", [](const Case& c) { return c.decode ? 1 : 0; }, [](Case* c, int v) { c->decode = v != 0; }},
    {"groups", [](const Case& c) { return c.groups - 1; }, [](Case* c, int v) { c->groups = v + 1; }},
};

std::string CaseText(const Case& c) {
  std::string text = fmt::format("{} {}", OpName(c.op), Info(c.act).name);
  for (const Field& field : kFields) {
    if (field.get(c) != 0) text += fmt::format(" {}={}", field.name, field.get(c));
  }
  return text;
}

std::string HashText(uint64_t hash) { return fmt::format("{:016x}", hash); }

std::string TargetText(const PlanHeader& h) {
  return fmt::format("{} multiprocessors={} lanes={} shared={}", h.target, h.multiprocessors, h.lanes, h.shared_bytes);
}

// A hash of the rows that there are, so that a row that was added is noticed.
std::string RowsHash() {
  uint64_t hash = Hash("");
  for (const Row& row : GpuRows()) {
    hash = Hash(fmt::format("{} {} {} {} {};", OpName(row.op), row.variant, row.kernel, Info(row.act).name,
                            row.targets == nullptr ? "" : row.targets),
                hash);
  }
  return HashText(hash);
}

// Words of a file, to be shown: a short line of ASCII.
std::string Plain(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, 100)) shown += c >= ' ' && c <= '~' ? c : '?';
  return shown;
}

// Text that is taken apart from its front.
template <class T>
bool ReadNumber(std::string_view text, T* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}
  int line() const { return line_; }
  bool empty() const { return rest_.empty(); }
  size_t left() const { return rest_.size(); }
  // The next line; the last one must end, too.
  Result<std::string_view> Line() {
    ++line_;
    const size_t end = rest_.find('\n');
    if (end == rest_.npos) return BadModel("line {} has no end: the file is cut off", line_);
    const std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return line;
  }
  // What follows `name` and a space on the next line.
  Result<std::string> Named(std::string_view name) {
    UM_ASSIGN_OR_RETURN(const std::string_view line, Line());
    if (!line.starts_with(name) || line.size() < name.size() + 2 || line[name.size()] != ' ') {
      return BadModel("line {} does not begin with '{}'", line_, name);
    }
    return std::string(line.substr(name.size() + 1));
  }
  // How many lines of such a kind follow.
  Result<int> Count(std::string_view name) {
    UM_ASSIGN_OR_RETURN(const std::string text, Named(name));
    int count = 0;
    if (ReadNumber(text, &count) && count >= 0 && count <= kMostCases) return count;
    return BadModel("line {} is not a number of {}", line_, name);
  }

 private:
  std::string_view rest_;
  int line_ = 0;
};

// Cuts `text` before the first `mark` and takes both off its front; all of it where there is none.
std::string_view Cut(std::string_view* text, std::string_view mark) {
  const size_t at = text->find(mark);
  const std::string_view head = text->substr(0, at);
  text->remove_prefix(at == text->npos ? text->size() : at + mark.size());
  return head;
}

// "name=12", of which the name is told.
bool ReadSetting(std::string_view word, std::string_view name, int64_t* value) {
  return word.starts_with(name) && word.size() > name.size() && word[name.size()] == '=' &&
         ReadNumber(word.substr(name.size() + 1), value) && *value >= 0;
}

bool ReadTarget(std::string_view text, PlanHeader* h) {
  int64_t multiprocessors = 0, lanes = 0;
  h->target = Cut(&text, " ");
  if (!ReadSetting(Cut(&text, " "), "multiprocessors", &multiprocessors) || multiprocessors > 1 << 20) return false;
  if (!ReadSetting(Cut(&text, " "), "lanes", &lanes) || lanes > 1 << 20) return false;
  h->multiprocessors = static_cast<int>(multiprocessors);
  h->lanes = static_cast<int>(lanes);
  return ReadSetting(text, "shared", &h->shared_bytes);
}

bool ReadType(std::string_view word, DType* type) {
  for (const DType known : {DType::kF32, DType::kBF16, DType::kF16}) {
    if (word != Info(known).name) continue;
    *type = known;
    return true;
  }
  return false;
}

bool ReadOp(std::string_view word, OpKind* op) {
  for (int kind = 0; kind < kOpKinds; ++kind) {
    *op = static_cast<OpKind>(kind);
    if (word == OpName(*op)) return true;
  }
  return false;
}

// Only what CaseText writes: each field at most once, in its order, none of them 0.
bool ReadCase(std::string_view text, Case* c) {
  const std::string_view whole = text;
  *c = Case{};
  c->m = 0;
  if (!ReadOp(Cut(&text, " "), &c->op) || !ReadType(Cut(&text, " "), &c->act)) return false;
  while (!text.empty()) {
    const std::string_view word = Cut(&text, " ");
    int64_t value = 0;
    const auto* field =
        std::ranges::find_if(kFields, [&](const Field& f) { return ReadSetting(word, f.name, &value); });
    if (field == std::end(kFields) || value > 1 << 30) return false;
    field->set(c, static_cast<int>(value));
  }
  return c->m > 0 && CaseText(*c) == whole && PlanCaseName(*c) == whole;
}

bool ReadTime(std::string_view text, std::string* kernel, double* microseconds) {
  *kernel = Cut(&text, " ");
  return !kernel->empty() && ReadNumber(text, microseconds) && std::isfinite(*microseconds) && *microseconds >= 0;
}

bool ReadEntry(std::string_view line, PlanEntry* entry) {
  if (!ReadCase(Cut(&line, ": "), &entry->of)) return false;
  if (!ReadTime(Cut(&line, ", "), &entry->kernel, &entry->microseconds)) return false;
  return line == "-" || ReadTime(line, &entry->second, &entry->second_microseconds);
}

bool ReadStep(std::string_view line, PlanStep* step) {
  int64_t rows = 0;
  std::string stream, graph;
  if (Cut(&line, " ") != "Step" || !ReadType(Cut(&line, " "), &step->act)) return false;
  std::string_view program = Cut(&line, " ");
  if (Cut(&program, "=") != "program" || program.size() != 16) return false;
  step->program = program;
  if (!ReadSetting(Cut(&line, ": "), "m", &rows) || rows < 1 || rows > 1 << 20) return false;
  step->rows = static_cast<int>(rows);
  return ReadTime(Cut(&line, ", "), &stream, &step->stream_microseconds) && stream == "stream" &&
         ReadTime(line, &graph, &step->graph_microseconds) && graph == "graph";
}

const Row* RowNamed(const std::string& kernel, const Case& c) {
  for (const Row& row : GpuRows()) {
    if (row.op == c.op && row.act == c.act && kernel == row.kernel) return &row;
  }
  return nullptr;
}

// The nearest of `sorted` at or below `value`, and at or above it; false where one is missing.
bool Around(const std::vector<int>& sorted, int value, int* below, int* above) {
  const auto at = std::ranges::lower_bound(sorted, value);
  if (at == sorted.end()) return false;
  *above = *at;
  if (*at != value && at == sorted.begin()) return false;
  *below = *at == value ? value : *std::prev(at);
  return true;
}

}  // namespace

PlanHeader PlanHeaderOf(const Limits& limits) {
  return {UM_VERSION,
          RowsHash(),
          limits.name,
          limits.target,
          limits.multiprocessors,
          limits.lanes,
          limits.shared_bytes_per_block};
}

Case PlanCase(const Case& c) {
  Case own;
  own.op = c.op;
  own.act = c.act;
  own.m = c.m;
  if (c.op == OpKind::kAttention) {
    own.attention = c.attention;
    own.attention.scale = 0;
    own.tokens = c.tokens;
    own.window = c.window;
    own.decode = c.decode;
    return own;
  }
  own.n = c.n;
  own.k = c.k;
  own.flags = c.flags;
  own.groups = c.groups;
  return own;
}

std::string PlanCaseName(const Case& c) { return CaseText(PlanCase(c)); }

std::string PrintPlan(const PlanFile& file) {
  const PlanHeader& h = file.header;
  std::string text = fmt::format("{}\nversion {}\nrows {}\ndevice {}\ntarget {}\ncases {}\n", kFirstLine, h.version,
                                 h.rows, h.device, TargetText(h), file.entries.size());
  for (const PlanEntry& e : file.entries) {
    text += fmt::format("{}: {} {:.3f}, ", PlanCaseName(e.of), e.kernel, e.microseconds);
    text += e.second.empty() ? std::string("-\n") : fmt::format("{} {:.3f}\n", e.second, e.second_microseconds);
  }
  text += fmt::format("steps {}\n", file.steps.size());
  for (const PlanStep& s : file.steps) {
    text += fmt::format("Step {} program={} m={}: stream {:.3f}, graph {:.3f}\n", Info(s.act).name, s.program, s.rows,
                        s.stream_microseconds, s.graph_microseconds);
  }
  return text + fmt::format("end {}\n", HashText(Hash(text)));
}

Result<PlanFile> ParsePlan(std::string_view text) {
  if (text.size() > kPlanBytes) return BadModel("{} bytes are more than a plan can have", text.size());
  Reader reader(text);
  UM_ASSIGN_OR_RETURN(const std::string_view first, reader.Line());
  if (first != kFirstLine) return BadModel("line 1 is not '{}': no plan, or one of another format", kFirstLine);
  PlanFile file;
  PlanHeader& h = file.header;
  UM_ASSIGN_OR_RETURN(h.version, reader.Named("version"));
  UM_ASSIGN_OR_RETURN(h.rows, reader.Named("rows"));
  UM_ASSIGN_OR_RETURN(h.device, reader.Named("device"));
  UM_ASSIGN_OR_RETURN(const std::string target, reader.Named("target"));
  if (!ReadTarget(target, &h)) return BadModel("line {} is not a target", reader.line());
  UM_ASSIGN_OR_RETURN(const int cases, reader.Count("cases"));
  for (int i = 0; i < cases; ++i) {
    UM_ASSIGN_OR_RETURN(const std::string_view line, reader.Line());
    PlanEntry& entry = file.entries.emplace_back();
    if (!ReadEntry(line, &entry)) return BadModel("line {} is not a case with its times", reader.line());
  }
  UM_ASSIGN_OR_RETURN(const int steps, reader.Count("steps"));
  for (int i = 0; i < steps; ++i) {
    UM_ASSIGN_OR_RETURN(const std::string_view line, reader.Line());
    PlanStep& step = file.steps.emplace_back();
    if (!ReadStep(line, &step)) return BadModel("line {} is not a step with its times", reader.line());
  }
  const std::string hash = HashText(Hash(text.substr(0, text.size() - reader.left())));
  UM_ASSIGN_OR_RETURN(const std::string end, reader.Named("end"));
  if (end != hash) {
    return BadModel("the hash in the last line is {}, that of the lines above is {}", Plain(end), hash);
  }
  if (!reader.empty()) return BadModel("there is more behind the last line");
  return file;
}

Status CheckPlanHeader(const PlanHeader& header, const Limits& limits) {
  const PlanHeader here = PlanHeaderOf(limits);
  if (header.device != here.device || TargetText(header) != TargetText(here)) {
    return BadModel("measured on {} ({}), this is {} ({})", Plain(header.device), Plain(TargetText(header)),
                    here.device, TargetText(here));
  }
  if (header.version != here.version) {
    return BadModel("measured by version {}, this is {}", Plain(header.version), here.version);
  }
  if (header.rows != here.rows) return BadModel("measured with other kernels");
  return {};
}

PlanTable::Key PlanTable::KeyOf(const Case& c) {
  const Case own = PlanCase(c);
  const AttentionShape& a = own.attention;
  return {own.op,
          own.act,
          {own.n, own.k, own.flags, a.heads, a.kv_heads, a.head_dim, own.window, own.decode ? 1 : 0, own.groups}};
}

PlanTable::PlanTable(const PlanFile& file) {
  for (const PlanEntry& e : file.entries) {
    const Row* row = RowNamed(e.kernel, e.of);
    if (row == nullptr) continue;
    Grid& grid = grids_[KeyOf(e.of)];
    grid.rows.push_back(e.of.m);
    grid.tokens.push_back(e.of.tokens);
    size_ += grid.fastest.emplace(std::pair(e.of.m, e.of.tokens), row).second ? 1 : 0;
  }
  for (const PlanStep& s : file.steps) {
    streams_[{s.program, s.act}][s.rows] = s.stream_microseconds < s.graph_microseconds;
  }
  for (auto& [key, grid] : grids_) {
    for (std::vector<int>* numbers : {&grid.rows, &grid.tokens}) {
      std::ranges::sort(*numbers);
      numbers->erase(std::ranges::unique(*numbers).begin(), numbers->end());
    }
  }
}

int PlanTable::StreamRows(std::string_view program, DType act) const {
  const auto found = streams_.find({std::string(program), act});
  if (found == streams_.end()) return -1;
  int most = 0;
  for (const auto& [rows, faster] : found->second) {
    if (!faster) break;
    most = rows;
  }
  return most;
}

const Row* PlanTable::Find(const Case& c) const {
  const Case own = PlanCase(c);
  const auto found = grids_.find(KeyOf(own));
  if (found == grids_.end()) return nullptr;
  const Grid& grid = found->second;
  const auto measured = [&](int rows, int tokens) {
    const auto at = grid.fastest.find({rows, tokens});
    return at == grid.fastest.end() ? nullptr : at->second;
  };
  int rows[2], tokens[2];
  if (!Around(grid.rows, own.m, &rows[0], &rows[1])) return nullptr;
  if (!Around(grid.tokens, own.tokens, &tokens[0], &tokens[1])) return nullptr;
  const Row* row = measured(rows[0], tokens[0]);
  for (const int r : rows) {
    for (const int t : tokens) {
      if (measured(r, t) != row) return nullptr;
    }
  }
  return row;
}

}  // namespace unimax
