// SPDX-License-Identifier: Apache-2.0
// What the tests of this folder share: recorded results, plain or gzipped, and vocabularies of GGUF files.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/vocab.h"

namespace unimax {

// Content of a file, unpacked when its name ends in ".gz"; none when it cannot be read.
std::optional<std::string> ReadTestFile(const std::string& path);
// The lines of a JSON Lines file, members in the file's order; empty when it cannot be read.
std::vector<nlohmann::ordered_json> ReadJsonLines(const std::string& path);
std::string TestDataFolder();    // recorded results that belong to this repository
std::string PublicDataFolder();  // those that do not: may be missing
// The `tokenizer.*` keys of a GGUF file's bytes; none when they cannot be read.
std::optional<VocabData> ReadGgufVocab(const std::string& bytes);

}  // namespace unimax
