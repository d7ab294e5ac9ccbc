// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/layout.h"
#include "base/mapped_file.h"
#include "base/new_file.h"
#include "base/status.h"

namespace unimax {
namespace {

TEST(Layout, EveryHalfBitPatternSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto h = static_cast<uint16_t>(bits);
    const float f = F16ToFloat(h);
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(F16ToFloat(FloatToF16(f))));
    } else {
      ASSERT_EQ(FloatToF16(f), h) << bits;
    }
    const float b = BF16ToFloat(h);
    if (std::isnan(b)) continue;
    ASSERT_EQ(FloatToBF16(b), h) << bits;
  }
}

TEST(Layout, HalvesRoundToNearestEven) {
  EXPECT_EQ(FloatToBF16(1.00390625f), 0x3f80);  // a tie goes to the even neighbour below
  EXPECT_EQ(FloatToBF16(1.01171875f), 0x3f82);  // a tie goes to the even neighbour above
  EXPECT_EQ(FloatToF16(2049.0f), FloatToF16(2048.0f));
  EXPECT_EQ(FloatToF16(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToF16(0x1p-25f), 0x0000);
  EXPECT_EQ(FloatToF16(0x1.8p-25f), 0x0001);
}

TEST(Layout, E4M3HoldsWhatItsBitsSayAndRoundsToNearestEven) {
  for (int bits = 0; bits < 256; ++bits) {
    const float value = E4M3ToFloat(static_cast<uint8_t>(bits));
    if ((bits & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_EQ(FloatToE4M3(value), bits);
      continue;
    }
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    const double magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(1 + mantissa / 8.0, exponent - 7);
    ASSERT_EQ(value, bits & 0x80 ? -magnitude : magnitude) << bits;
    ASSERT_EQ(FloatToE4M3(value), bits);
  }
  // Between two neighbours: below, at and above the middle.
  for (int low = 0; low < 0x7e; ++low) {
    const float a = E4M3ToFloat(static_cast<uint8_t>(low)), b = E4M3ToFloat(static_cast<uint8_t>(low + 1));
    const float middle = (a + b) / 2;
    ASSERT_EQ(FloatToE4M3(middle), low % 2 == 0 ? low : low + 1) << low;
    ASSERT_EQ(FloatToE4M3(std::nextafter(middle, 0.0f)), low);
    ASSERT_EQ(FloatToE4M3(-std::nextafter(middle, 1000.0f)), (low + 1) | 0x80);
  }
  EXPECT_EQ(FloatToE4M3(1e30f), 0x7e);
  EXPECT_EQ(FloatToE4M3(-INFINITY), 0xfe);
}

TEST(Status, CarriesKindAndSentence) {
  const Status s = BadModel("tensor {} is cut", "a").At("m.gguf");
  EXPECT_FALSE(s.ok());
  EXPECT_EQ(s.exit_status(), 65);
  EXPECT_EQ(s.text(), "m.gguf: tensor a is cut");
}

TEST(MappedFile, NamesWhatIsMissing) {
  const auto file = MappedFile::Open("/nonexistent/file");
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().kind(), ErrorKind::kIo);
  EXPECT_NE(file.status().text().find("/nonexistent/file"), std::string_view::npos);
}

TEST(NewFile, TheOldOneStaysUntilTheNewOneIsWhole) {
  namespace fs = std::filesystem;
  const fs::path folder = fs::path(testing::TempDir()) / "new_file_test", path = folder / "a.txt";
  fs::remove_all(folder);
  fs::create_directories(folder);
  std::ofstream(path) << "old";
  const auto content = [&] {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const auto files = [&] { return std::distance(fs::directory_iterator(folder), fs::directory_iterator()); };
  {
    NewFile given_up("table");
    ASSERT_TRUE(given_up.Create(path.string()).ok());
    EXPECT_EQ(content(), "old");
  }
  EXPECT_EQ(files(), 1);
  {
    NewFile written("table");
    ASSERT_TRUE(written.Create(path.string()).ok());
    const std::string text(100000, 'n');
    const Status status = written.Write(text);
    EXPECT_TRUE(status.ok()) << status.text();
    EXPECT_EQ(content(), text);
    EXPECT_EQ(files(), 1);
  }
  {
    NewFile in_parts("table");
    ASSERT_TRUE(in_parts.Create(path.string()).ok());
    EXPECT_TRUE(in_parts.Append("one ").ok());
    EXPECT_TRUE(in_parts.Append("two").ok());
    EXPECT_NE(content(), "one two");
    EXPECT_TRUE(in_parts.Finish().ok());
    EXPECT_EQ(content(), "one two");
  }
  EXPECT_EQ(files(), 1);
  NewFile nowhere("table");
  const Status absent = nowhere.Create((folder / "no" / "b.txt").string());
  EXPECT_EQ(absent.kind(), ErrorKind::kIo);
  EXPECT_NE(absent.text().find("no/b.txt: cannot create the table"), std::string::npos) << absent.text();
  {
    NewFile onto_a_folder("table"), too_late("table");  // its place is taken, before and after
    ASSERT_TRUE(too_late.Create((folder / "c").string()).ok());
    fs::create_directories(folder / "c" / "d");
    EXPECT_EQ(onto_a_folder.Create((folder / "c").string()).kind(), ErrorKind::kIo);
    EXPECT_EQ(too_late.Write("text").kind(), ErrorKind::kIo);
  }
  EXPECT_EQ(files(), 2);
  NewFile device("table");
  EXPECT_NE(device.Create("/dev/null").text().find("not a plain file"), std::string::npos);
  fs::remove_all(folder);
}

}  // namespace
}  // namespace unimax
