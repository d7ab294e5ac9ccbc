// SPDX-License-Identifier: Apache-2.0
// Row A05: random layouts of tensors, right and wrong, judged by a plain pairwise oracle.
#include <gtest/gtest.h>

#include <algorithm>

#include "weights/gguf.h"
#include "weights/safetensors.h"
#include "weights/test_files.h"

namespace unimax {
namespace {

constexpr int kCases = 10000;  // of each format
using Wide = unsigned __int128;

struct Piece {
  std::string name;
  std::vector<uint64_t> shape;  // outermost first
  uint32_t type = 0;            // number in GGUF: 0 F32, 1 F16, 8 Q8_0
  uint64_t begin = 0, end = 0;  // in the data
};

uint64_t Size(const Piece& piece) {
  uint64_t elements = 1;
  for (const uint64_t d : piece.shape) elements *= d;
  return piece.type == 0 ? elements * 4 : piece.type == 1 ? elements * 2 : elements / 32 * 34;
}

bool Overlap(const Piece& a, const Piece& b) { return Wide{a.begin} < b.end && Wide{b.begin} < a.end; }

template <class T>
void Shuffle(std::vector<T>* items, Random* random) {
  for (size_t i = items->size(); i > 1; --i) std::swap((*items)[i - 1], (*items)[random->Below(i)]);
}

struct Tally {
  int accepted_bad = 0, rejected_good = 0, good = 0;
  void Count(bool truth, const Status& status, const std::string& what) {
    good += truth;
    accepted_bad += !truth && status.ok();
    rejected_good += truth && !status.ok();
    EXPECT_EQ(truth, status.ok()) << what << " " << status.text();
    EXPECT_EQ(truth, status.text().find("tensor") == std::string_view::npos) << status.text();
  }
};

void TestGguf(Random* random, Tally* tally) {
  std::vector<Piece> pieces(1 + random->Below(5));
  uint64_t at = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    Piece& p = pieces[i];
    p.name = fmt::format("t{}", i);
    p.type = random->Below(3) == 0 ? 8 : static_cast<uint32_t>(random->Below(2));
    p.shape = {1 + random->Below(3), p.type == 8 ? 32 * (1 + random->Below(2)) : 1 + random->Below(40)};
    if (random->Below(8) == 0) at += 32 * random->Below(3);  // a gap is allowed
    p.begin = at;
    at = (at + Size(p) + 31) / 32 * 32;
  }
  uint64_t data_bytes = pieces.back().begin + Size(pieces.back()) + random->Below(40);
  Piece& victim = pieces[random->Below(pieces.size())];
  switch (random->Below(8)) {
    case 0:
      victim.begin = pieces[random->Below(pieces.size())].begin;
      break;
    case 1:
      victim.begin += 1 + random->Below(40);
      break;
    case 2:
      data_bytes -= std::min(data_bytes, 1 + random->Below(60));
      break;
    case 3:
      victim.begin = (~uint64_t{0} << random->Below(60)) & ~uint64_t{31};
      break;
    case 4:
      victim.shape[0] += random->Below(4);
      break;
    default:
      break;
  }
  bool truth = true;
  for (Piece& p : pieces) {
    truth &= p.begin % 32 == 0 && Wide{p.begin} + Size(p) <= data_bytes;
    p.end = Wide{p.begin} + Size(p) > ~uint64_t{0} ? ~uint64_t{0} : p.begin + Size(p);
  }
  for (size_t i = 0; i < pieces.size(); ++i)
    for (size_t j = i + 1; j < pieces.size(); ++j) truth &= !Overlap(pieces[i], pieces[j]);
  Shuffle(&pieces, random);
  std::vector<std::string> infos;
  for (const Piece& p : pieces) infos.push_back(GgufTensor(p.name, {p.shape[1], p.shape[0]}, p.type, p.begin));
  const std::string file = GgufBytes({}, infos, std::string(data_bytes, '\1'));
  tally->Count(truth, GgufFile::Parse(AsBytes(file), "m.gguf").status(), "gguf");
}

void TestSafetensors(Random* random, Tally* tally) {
  std::vector<Piece> pieces(1 + random->Below(5));
  uint64_t at = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    Piece& p = pieces[i];
    p.name = fmt::format("t{}", i);
    p.type = static_cast<uint32_t>(random->Below(2));
    p.shape = {random->Below(4), 1 + random->Below(9)};  // no element is allowed
    p.begin = at;
    p.end = at += Size(p);
  }
  uint64_t data_bytes = at;
  Piece& victim = pieces[random->Below(pieces.size())];
  switch (random->Below(9)) {
    case 0:
      victim.begin = pieces[random->Below(pieces.size())].begin;
      victim.end = victim.begin + Size(victim);
      break;
    case 1:
      std::swap(victim.begin, victim.end);
      break;
    case 2:
      data_bytes += random->Below(3);
      break;
    case 3:
      victim.end = ~uint64_t{0} << random->Below(60);
      break;
    case 4:
      victim.shape[0] += random->Below(3);
      break;
    case 5:
      victim.begin += 2, victim.end += 2;
      break;
    default:
      break;
  }
  // Truth: every byte of the data belongs to exactly one tensor, and each tensor has the bytes of its shape.
  bool truth = true;
  std::vector<int> owners(data_bytes, 0);
  for (const Piece& p : pieces) {
    truth &= p.begin <= p.end && p.end <= data_bytes && p.end - p.begin == Size(p);
    for (uint64_t b = p.begin; truth && b < p.end; ++b) ++owners[b];
    for (const Piece& q : pieces) truth &= !(p.begin == p.end && q.begin < p.begin && p.begin < q.end);
  }
  truth = truth && std::all_of(owners.begin(), owners.end(), [](int n) { return n == 1; });
  Shuffle(&pieces, random);
  std::string header = "{";
  for (const Piece& p : pieces)
    header +=
        fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{},{}],"data_offsets":[{},{}]}})", header.size() > 1 ? "," : "",
                    p.name, p.type == 0 ? "F32" : "F16", p.shape[0], p.shape[1], p.begin, p.end);
  const std::string file = SafetensorsBytes(header + "}", std::string(data_bytes, '\1'));
  tally->Count(truth, SafetensorsFile::Parse(AsBytes(file), "m").status().At("tensor"), header);
}

TEST(Layouts, AreAcceptedExactlyWhenRight) {
  Tally tally;
  Random random(5);
  for (int i = 0; i < kCases; ++i) {
    TestGguf(&random, &tally);
    TestSafetensors(&random, &tally);
    ASSERT_EQ(tally.accepted_bad + tally.rejected_good, 0) << i;
  }
  EXPECT_GT(tally.good, kCases / 2);
  EXPECT_LT(tally.good, kCases * 3 / 2);
  std::printf("A05 accepted_bad=%d rejected_good=%d cases=%d good=%d %s\n", tally.accepted_bad, tally.rejected_good,
              2 * kCases, tally.good, tally.accepted_bad + tally.rejected_good == 0 ? "PASS" : "FAIL");
}

}  // namespace
}  // namespace unimax
