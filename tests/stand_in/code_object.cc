// SPDX-License-Identifier: Apache-2.0
#include "stand_in/code_object.h"

#include <elf.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

namespace unimax {
namespace {

using nlohmann::json;

constexpr unsigned kMachine = 224;    // EM_AMDGPU
constexpr unsigned kMetadata = 32;    // NT_AMDGPU_METADATA
constexpr int kMostBytes = 64 << 10;  // of a segment that this reader believes

template <class T>
std::optional<T> At(std::span<const unsigned char> bytes, uint64_t offset) {
  if (offset > bytes.size() || sizeof(T) > bytes.size() - offset) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}
std::span<const unsigned char> Part(std::span<const unsigned char> bytes, uint64_t offset, uint64_t count) {
  if (offset > bytes.size() || count > bytes.size() - offset) return {};
  return bytes.subspan(offset, count);
}

// The description of the note that is asked for, or nothing.
std::span<const unsigned char> FindNote(std::span<const unsigned char> notes) {
  for (uint64_t at = 0;;) {
    const auto header = At<Elf64_Nhdr>(notes, at);
    if (!header) return {};
    const uint64_t name = at + sizeof(Elf64_Nhdr), text = name + (header->n_namesz + uint64_t{3}) / 4 * 4;
    const auto owner = Part(notes, name, header->n_namesz);
    if (header->n_type == kMetadata && owner.size() == 7 && std::memcmp(owner.data(), "AMDGPU", 7) == 0) {
      return Part(notes, text, header->n_descsz);
    }
    at = text + (header->n_descsz + uint64_t{3}) / 4 * 4;
  }
}

Result<int> Number(const json& map, const char* key) {
  const auto it = map.find(key);
  if (it == map.end() || !it->is_number_unsigned() || it->get<uint64_t>() > kMostBytes) {
    return BadModel("the code object's {} is missing or no sensible number", key);
  }
  return it->get<int>();
}

Result<KernelCode> ReadKernel(const json& kernel) {
  KernelCode code;
  UM_ASSIGN_OR_RETURN(code.kernarg_bytes, Number(kernel, ".kernarg_segment_size"));
  UM_ASSIGN_OR_RETURN(code.shared_bytes, Number(kernel, ".group_segment_fixed_size"));
  UM_ASSIGN_OR_RETURN(code.private_bytes, Number(kernel, ".private_segment_fixed_size"));
  UM_ASSIGN_OR_RETURN(code.max_threads, Number(kernel, ".max_flat_workgroup_size"));
  UM_ASSIGN_OR_RETURN(code.lanes, Number(kernel, ".wavefront_size"));
  const auto args = kernel.find(".args");
  if (args == kernel.end() || !args->is_array()) return code;  // without arguments there is no list
  for (const json& arg : *args) {
    const auto kind = arg.is_object() ? arg.find(".value_kind") : arg.end();
    if (!arg.is_object() || kind == arg.end() || !kind->is_string()) return BadModel("an argument without a kind");
    if (kind->get_ref<const std::string&>().starts_with("hidden_")) continue;
    UM_ASSIGN_OR_RETURN(const int offset, Number(arg, ".offset"));
    UM_ASSIGN_OR_RETURN(const int size, Number(arg, ".size"));
    code.args_bytes = std::max(code.args_bytes, offset + size);
  }
  if (code.args_bytes > code.kernarg_bytes)
    return BadModel("arguments of {} bytes in a smaller segment", code.args_bytes);
  return code;
}

}  // namespace

bool IsElf(std::span<const unsigned char> image) {
  return image.size() >= SELFMAG && std::memcmp(image.data(), ELFMAG, SELFMAG) == 0;
}

size_t ElfBytes(const unsigned char* image) {
  if (!IsElf({image, SELFMAG})) return 0;
  Elf64_Ehdr header;
  std::memcpy(&header, image, sizeof(header));
  // Linkers put the section headers last.
  return std::max<size_t>(header.e_shoff + size_t{header.e_shentsize} * header.e_shnum, sizeof(header));
}

Result<CodeObject> ReadCodeObject(std::span<const unsigned char> image) {
  const auto header = At<Elf64_Ehdr>(image, 0);
  if (!header || !IsElf(image) || header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != kMachine) {
    return BadModel("this is no ELF file for AMD GPUs");
  }
  std::span<const unsigned char> note;
  for (unsigned i = 0; i < header->e_phnum && note.empty(); ++i) {
    const auto segment = At<Elf64_Phdr>(image, header->e_phoff + uint64_t{i} * header->e_phentsize);
    if (!segment) return BadModel("the code object's headers are cut off");
    if (segment->p_type == PT_NOTE) note = FindNote(Part(image, segment->p_offset, segment->p_filesz));
  }
  if (note.empty()) return BadModel("the code object has no metadata");
  const json metadata = json::from_msgpack(note.begin(), note.end(), true, false);
  if (!metadata.is_object()) return BadModel("the code object's metadata is no map of MessagePack");
  const auto target = metadata.find("amdhsa.target");
  const auto kernels = metadata.find("amdhsa.kernels");
  if (target == metadata.end() || !target->is_string() || kernels == metadata.end() || !kernels->is_array()) {
    return BadModel("the code object's metadata lacks its target or its kernels");
  }
  CodeObject object;
  const std::string triple = target->get<std::string>();  // amdgcn-amd-amdhsa--gfx90a:xnack-
  object.target = triple.substr(triple.rfind("--") == std::string::npos ? 0 : triple.rfind("--") + 2);
  object.target = object.target.substr(0, object.target.find(':'));
  for (const json& kernel : *kernels) {
    const auto name = kernel.is_object() ? kernel.find(".name") : kernel.end();
    if (!kernel.is_object() || name == kernel.end() || !name->is_string()) return BadModel("a kernel without a name");
    UM_ASSIGN_OR_RETURN(object.kernels[name->get<std::string>()], ReadKernel(kernel));
  }
  return object;
}

}  // namespace unimax
