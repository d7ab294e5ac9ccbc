// SPDX-License-Identifier: Apache-2.0
#include "engine/kv_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

namespace unimax {
namespace {

constexpr std::string_view kMagic = "unimaxKV";
constexpr uint32_t kVersion = 6;
constexpr size_t kFixed = 112;
constexpr uint64_t kDigest = sizeof(Sha256Digest);

std::string_view Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class Writer {
 public:
  void Number(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) text.push_back(static_cast<char>(value >> (8 * i)));
  }
  void Digest(const Sha256Digest& digest) { text.append(reinterpret_cast<const char*>(digest.data()), digest.size()); }
  std::string text;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}
  uint64_t Number(size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; ++i) value |= static_cast<uint64_t>(bytes_[at_ + i]) << (8 * i);
    at_ += bytes;
    return value;
  }
  uint32_t Word() { return static_cast<uint32_t>(Number(4)); }
  std::string Text(size_t bytes) {
    std::string text(reinterpret_cast<const char*>(bytes_.data()) + at_, bytes);
    at_ += bytes;
    return text;
  }
  Sha256Digest Digest() {
    Sha256Digest digest;
    std::memcpy(digest.data(), bytes_.data() + at_, digest.size());
    at_ += digest.size();
    return digest;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t at_ = 0;
};

// What a head says of the file's sizes.
struct Sizes {
  uint64_t pages = 0, page_tokens = 0, form = 0, page_bytes = 0;
  uint64_t head() const { return kFixed + form + 4 * pages * page_tokens + kDigest; }
};

// Whether a file of `length` bytes can be so: no product here can wrap, since each factor is bounded first.
bool Fits(const Sizes& s, uint64_t length) {
  if (s.pages == 0 || s.page_tokens == 0 || s.page_bytes == 0 || s.form > kMostForm) return false;
  if (s.pages > kMostKvFileTokens / s.page_tokens || s.head() > length) return false;
  const uint64_t rest = length - s.head();
  return s.page_bytes < length && rest % s.pages == 0 && rest / s.pages == kDigest + s.page_bytes;
}

// Why a file of kind `found` cannot serve as one of kind `wanted`; "" where it can.
std::string Difference(const KvKind& found, const KvKind& wanted) {
  if (found == wanted) return "";
  if (found.weights != wanted.weights) return "made with other weights";
  if (found.page_tokens != wanted.page_tokens) {
    return fmt::format("made for pages of {} tokens, these have {}", found.page_tokens, wanted.page_tokens);
  }
  if (found.form != wanted.form)
    return fmt::format("made by another executor ({}; this is {})", found.form, wanted.form);
  if (found.rope_set != wanted.rope_set) return "made for sequences of another length, whose keys are turned otherwise";
  return "made by another program of the model";
}

Sha256Digest PageDigest(Sha256& hash, const Sha256Digest& head, int index, std::span<const std::byte> content) {
  return hash.Add(std::as_bytes(std::span(head))).AddNumber(static_cast<uint64_t>(index)).Add(content).End();
}

std::string HeadOf(const KvKind& kind, std::span<const int> ids) {
  Writer head;
  head.text = kMagic;
  head.Number(kVersion, 4);
  head.Number(ids.size() / kind.page_tokens, 4);
  head.Number(kind.page_tokens, 4);
  head.Number(kind.form.size(), 4);
  head.Number(kind.page_bytes, 8);
  for (const uint32_t word : {kind.rope_set, kind.layers, kind.kv_heads, kind.head_dim}) head.Number(word, 4);
  head.Digest(kind.weights);
  head.Digest(kind.program);
  UM_CHECK(head.text.size() == kFixed);
  head.text += kind.form;
  for (const int id : ids) head.Number(static_cast<uint32_t>(id), 4);
  return head.text;
}

}  // namespace

Result<KvFile> KvFile::Open(const std::string& path, const KvKind& wanted) {
  // Not to wait for whoever writes into a pipe.
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return IoError("{}: {}", path, std::strerror(errno));
  KvFile opened(path, file);
  UM_RETURN_IF_ERROR(opened.ReadHead(wanted));
  return opened;
}

KvFile::KvFile(KvFile&& o) noexcept
    : path_(std::move(o.path_)),
      file_(std::exchange(o.file_, -1)),
      pages_(o.pages_),
      page_bytes_(o.page_bytes_),
      first_page_(o.first_page_),
      ids_(std::move(o.ids_)),
      head_(o.head_),
      hash_(std::move(o.hash_)) {}

KvFile::~KvFile() {
  if (file_ >= 0) ::close(file_);
}

Status KvFile::Damaged(const std::string& what) const { return UsageError("{}: damaged: {}", path_, what); }

Status KvFile::ReadAt(uint64_t offset, std::span<std::byte> to) const {
  while (!to.empty()) {
    const ssize_t got = ::pread(file_, to.data(), to.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return IoError("{}: cannot be read: {}", path_, std::strerror(errno));
    if (got == 0) return Damaged("it has become shorter");
    offset += static_cast<uint64_t>(got);
    to = to.subspan(static_cast<size_t>(got));
  }
  return {};
}

Status KvFile::ReadHead(const KvKind& wanted) {
  struct stat found {};
  if (::fstat(file_, &found) != 0) return IoError("{}: {}", path_, std::strerror(errno));
  const auto length = S_ISREG(found.st_mode) ? static_cast<uint64_t>(found.st_size) : 0;
  std::array<std::byte, kFixed> fixed;
  if (length < kFixed) return UsageError("{}: no file of keys and values", path_);
  UM_RETURN_IF_ERROR(ReadAt(0, fixed));
  Reader head(fixed);
  if (head.Text(kMagic.size()) != kMagic) return UsageError("{}: no file of keys and values", path_);
  const uint32_t version = head.Word();
  if (version != kVersion) return UsageError("{}: of version {}, this program reads {}", path_, version, kVersion);
  Sizes sizes;
  KvKind kind;
  sizes.pages = head.Word();
  sizes.page_tokens = kind.page_tokens = head.Word();
  sizes.form = head.Word();
  sizes.page_bytes = kind.page_bytes = head.Number(8);
  for (uint32_t* word : {&kind.rope_set, &kind.layers, &kind.kv_heads, &kind.head_dim}) *word = head.Word();
  kind.weights = head.Digest();
  kind.program = head.Digest();
  if (!Fits(sizes, length)) return Damaged("its head does not say its length");

  std::vector<std::byte> all(sizes.head());  // no longer than the file
  UM_RETURN_IF_ERROR(ReadAt(0, all));
  if (!std::equal(fixed.begin(), fixed.end(), all.begin())) return Damaged("it changes while it is read");
  Reader rest(all);
  rest.Text(kFixed);
  kind.form = rest.Text(sizes.form);
  for (uint64_t i = 0; i < sizes.pages * sizes.page_tokens; ++i) ids_.push_back(static_cast<int>(rest.Word()));
  head_ = hash_.Add(std::span(all).first(all.size() - kDigest)).End();
  if (head_ != rest.Digest()) return Damaged("its head has another checksum");
  if (const std::string why = Difference(kind, wanted); !why.empty()) return UsageError("{}: {}", path_, why);
  pages_ = static_cast<int>(sizes.pages);
  page_bytes_ = sizes.page_bytes;
  first_page_ = sizes.head();
  return {};
}

Status KvFile::ReadPage(int index, std::span<std::byte> to) {
  UM_CHECK(index >= 0 && index < pages_ && to.size() == page_bytes_);
  const uint64_t at = first_page_ + static_cast<uint64_t>(index) * (kDigest + page_bytes_);
  Sha256Digest digest;
  UM_RETURN_IF_ERROR(ReadAt(at, std::as_writable_bytes(std::span(digest))));
  UM_RETURN_IF_ERROR(ReadAt(at + kDigest, to));
  if (PageDigest(hash_, head_, index, to) == digest) return {};
  return Damaged(fmt::format("page {} has another checksum", index));
}

Status KvFileWriter::Begin(const KvKind& kind, std::span<const int> ids) {
  UM_CHECK(!ids.empty() && kind.page_bytes > 0 && ids.size() % kind.page_tokens == 0);
  UM_CHECK(kind.form.size() <= kMostForm && ids.size() <= kMostKvFileTokens);
  pages_ = static_cast<int>(ids.size() / kind.page_tokens);
  page_bytes_ = kind.page_bytes;
  const std::string head = HeadOf(kind, ids);
  head_ = hash_.Add(std::as_bytes(std::span(head))).End();
  UM_RETURN_IF_ERROR(file_.Append(head));
  return file_.Append(Text(std::as_bytes(std::span(head_))));
}

Status KvFileWriter::AddPage(std::span<const std::byte> content) {
  UM_CHECK(written_ < pages_ && content.size() == page_bytes_);
  const Sha256Digest digest = PageDigest(hash_, head_, written_++, content);
  UM_RETURN_IF_ERROR(file_.Append(Text(std::as_bytes(std::span(digest)))));
  return file_.Append(Text(content));
}

Status KvFileWriter::Finish() {
  UM_CHECK(pages_ > 0 && written_ == pages_);
  return file_.Finish();
}

}  // namespace unimax
