// SPDX-License-Identifier: Apache-2.0
#include "engine/prompt_cache.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

namespace unimax {
namespace {

constexpr size_t kSample = 4096;

void AddSamples(Sha256& hash, std::span<const std::byte> bytes) {
  if (bytes.size() <= 4 * kSample) {
    hash.Add(bytes);
    return;
  }
  for (const size_t at : {size_t{0}, (bytes.size() - kSample) / 2, bytes.size() - kSample}) {
    hash.Add(bytes.subspan(at, kSample));
  }
}

void AddInts(Sha256& hash, std::initializer_list<int> values) {
  for (const int value : values) hash.AddNumber(static_cast<uint64_t>(int64_t{value}));
}

void AddFloats(Sha256& hash, std::initializer_list<float> values) {
  for (const float value : values) hash.AddNumber(std::bit_cast<uint32_t>(value));
}

void AddDoubles(Sha256& hash, std::span<const double> values) {
  hash.AddNumber(values.size());
  for (const double value : values) hash.AddNumber(std::bit_cast<uint64_t>(value));
}

}  // namespace

Sha256Digest WeightsDigest(const Model& model) {
  Sha256 hash;
  hash.AddText("weights 1");
  const Checkpoint* checkpoint = model.checkpoint();
  if (checkpoint == nullptr) return hash.AddText("random").End();
  for (const MappedFile& file : checkpoint->files()) {
    struct stat found {};
    if (::stat(file.path().c_str(), &found) != 0) found = {};
    hash.AddNumber(file.bytes().size());
    hash.AddNumber(static_cast<uint64_t>(found.st_mtim.tv_sec)).AddNumber(static_cast<uint64_t>(found.st_mtim.tv_nsec));
  }
  for (const TensorView& tensor : checkpoint->tensors()) {
    hash.AddText(tensor.name).AddNumber(static_cast<uint64_t>(tensor.type)).AddNumber(tensor.shape.size());
    for (const uint64_t size : tensor.shape) hash.AddNumber(size);
    hash.AddNumber(tensor.bytes.size());
    AddSamples(hash, tensor.bytes);
  }
  return hash.End();
}

Sha256Digest ProgramDigest(const Program& p) {
  Sha256 hash;
  hash.AddText("program 1");
  AddInts(hash, {p.layers, p.hidden, p.vocab, p.long_rope_from, p.attention.heads, p.attention.kv_heads,
                 p.attention.head_dim});
  AddFloats(hash, {p.attention.scale});
  hash.AddNumber(p.ropes.size());
  for (const Rope& rope : p.ropes) {
    AddDoubles(hash, rope.inv_freq);
    AddDoubles(hash, rope.long_inv_freq);
    AddDoubles(hash, std::span(&rope.magnitude, 1));
    AddInts(hash, {rope.interleaved ? 1 : 0});
  }
  hash.AddNumber(p.values.size());
  for (const Value& v : p.values) {
    AddInts(hash, {v.cols, static_cast<int>(v.rows), static_cast<int>(v.storage), v.parent, v.offset});
  }
  hash.AddNumber(p.weights.size());
  for (const Weight& w : p.weights) {
    AddInts(hash, {w.rows, w.cols, w.matrix ? 1 : 0, static_cast<int>(w.parts.size())});
    for (const Weight::Part& part : w.parts) {
      hash.AddText(part.tensor);
      AddInts(hash, {part.rows, part.first, part.block, part.stride, part.tensor_rows, part.transposed ? 1 : 0});
    }
  }
  hash.AddNumber(p.ops.size());
  for (const Op& op : p.ops) {
    AddInts(hash, {static_cast<int>(op.kind), op.layer, op.in, op.in2, op.in3, op.out, op.weight, op.bias,
                   static_cast<int>(op.act), static_cast<int>(op.norm), op.window, op.rope, op.first});
    AddFloats(hash, {op.eps, op.offset, op.scale, op.cap});
  }
  return hash.End();
}

KvKind KvKindOf(Model& model) {
  const AttentionShape& a = model.program().attention;
  KvKind kind;
  kind.weights = WeightsDigest(model);
  kind.program = ProgramDigest(model.program());
  kind.form = fmt::format("unimax {}, {}", UM_VERSION, model.executor().PageForm());
  if (kind.form.size() > kMostForm) {  // a long list of forced rows
    const Sha256Digest all = Sha256().AddText(kind.form).End();
    kind.form = fmt::format("{}... {:02x}", kind.form.substr(0, kMostForm / 2), fmt::join(all, ""));
  }
  kind.page_tokens = static_cast<uint32_t>(model.limits().page_tokens);
  kind.layers = static_cast<uint32_t>(model.program().layers);
  kind.kv_heads = static_cast<uint32_t>(a.kv_heads);
  kind.head_dim = static_cast<uint32_t>(a.head_dim);
  kind.page_bytes = model.executor().page_bytes();
  return kind;
}

Status PromptCache::Create(const std::string& path) {
  path_ = path;
  return file_.Create(path);
}

KvKind PromptCache::KindFor(Model& model, std::span<const int> prompt, int max_new) {
  if (!kind_) kind_ = KvKindOf(model);
  const int length = static_cast<int>(prompt.size()) + max_new;
  kind_->rope_set = RopeRow(model.program(), model.limits(), 0, length) > 0 ? 1 : 0;
  return *kind_;
}

Result<PromptCache::Restored> PromptCache::Restore(Engine& engine, Model& model, std::span<const int> prompt,
                                                   int max_new) {
  restored_ids_.clear();
  if (::access(path_.c_str(), F_OK) != 0) return Restored{0, false, fmt::format("{}: not there yet", path_)};
  const int page_tokens = model.limits().page_tokens;
  const KvKind kind = KindFor(model, prompt, max_new);
  if (kind.page_bytes == 0) return Restored{0, true, fmt::format("{}: {} has no pages to keep", path_, kind.form)};
  Result<KvFile> opened = KvFile::Open(path_, kind);
  if (!opened.ok()) return Restored{0, true, std::string(opened.status().text())};
  KvFile& file = opened.value();
  const auto common = std::ranges::mismatch(prompt, file.ids()).in1 - prompt.begin();
  Status bad;  // of the file
  const auto filled = engine.WritePrefix(prompt, max_new, static_cast<int>(common) / page_tokens,
                                         [&](int index, std::span<std::byte> content) {
                                           bad = file.ReadPage(index, content);
                                           return bad;
                                         });
  if (!bad.ok()) return Restored{0, true, std::string(bad.text())};
  if (!filled.ok()) return filled.status();
  const int tokens = *filled * page_tokens;
  if (tokens == 0) return Restored{0, false, fmt::format("{}: no page of it is a beginning of this prompt", path_)};
  restored_ids_.assign(prompt.begin(), prompt.begin() + tokens);
  return Restored{tokens, false, fmt::format("{}: {} of {} prompt tokens restored", path_, tokens, prompt.size())};
}

Result<int> PromptCache::Save(Engine& engine, Model& model, std::span<const int> prompt, int max_new) {
  const size_t page_tokens = static_cast<size_t>(model.limits().page_tokens);
  const std::span<const int> whole = prompt.first((prompt.size() - 1) / page_tokens * page_tokens);
  if (std::ranges::equal(whole, restored_ids_))
    return static_cast<int>(whole.size());  // the file has it, or there is none
  const KvKind kind = KindFor(model, prompt, max_new);
  if (kind.page_bytes == 0) return 0;
  KvFileWriter writer(file_);
  UM_ASSIGN_OR_RETURN(const int pages,
                      engine.ReadPrefix(prompt, max_new, [&](int index, int all, std::span<const std::byte> content) {
                        if (index == 0) {
                          const Status begun = writer.Begin(kind, prompt.first(static_cast<size_t>(all) * page_tokens));
                          if (!begun.ok()) return begun;
                        }
                        return writer.AddPage(content);
                      }));
  if (pages > 0) UM_RETURN_IF_ERROR(writer.Finish());
  return pages * static_cast<int>(page_tokens);
}

}  // namespace unimax
