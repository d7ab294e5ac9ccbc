# SPDX-License-Identifier: Apache-2.0
# Device code: compiled ahead of time to one code object an architecture and embedded in a library of the build.
#
#   um_cuda_code(<target> SOURCE <file> ARCHS 80 90a compute_80 [OPTIONS ...])   nvcc; "compute_80" makes PTX
#   um_hip_code(<target> SOURCE <file> ARCHS gfx942 gfx1100 [OPTIONS ...])       clang-22, no ROCm package
#
# Both may be called several times for a target; its table (src/device/code_objects.h) then holds all of them, or is
# empty. A compiler that is missing or does not work is named at configure time and costs only its code objects.

include_guard(GLOBAL)
enable_language(ASM)

set(UM_CODE_FOLDER ${CMAKE_BINARY_DIR}/code)  # code objects, their dependency files and the assembler tables

# um_try_compiler(<result> <command...>): whether the command, plus -o and a file, compiles an empty kernel. A
# yes is kept until the command changes.
function(um_try_compiler result)
  if(NOT ${result} OR NOT "${UM_TRIED_${result}}" STREQUAL "${ARGN}")
    file(WRITE ${UM_CODE_FOLDER}/probe.cu "__attribute__((global)) void Probe() {}\n")
    execute_process(COMMAND ${ARGN} ${UM_CODE_FOLDER}/probe.cu -o ${UM_CODE_FOLDER}/probe.out
      RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
    string(STRIP "${output}" output)
    string(REGEX REPLACE "\n.*" "" output "${output}")
    if(status EQUAL 0)
      set(output "")
      set(works ON)
    else()
      set(works OFF)
    endif()
    set(UM_TRIED_${result} "${ARGN}" CACHE INTERNAL "The command that was tried")
    set(UM_ERROR_${result} "${output}" CACHE INTERNAL "The first line it said")
    set(${result} ${works} CACHE INTERNAL "Whether it compiles device code")
  endif()
endfunction()

# ---- nvcc: PATH, the usual folder, or the one that ./setup.sh --gpu makes ----
set(UM_NVCC_WORKS_NOW OFF)
if(UM_GPU)
  find_program(UM_NVCC nvcc
    HINTS ENV CUDACXX PATHS /usr/local/cuda/bin ${CMAKE_SOURCE_DIR}/build/cuda/nvidia/cu13/bin)
  if(NOT UM_NVCC)
    message(STATUS "skipped: no nvcc")
  else()
    um_try_compiler(UM_NVCC_WORKS ${UM_NVCC} -ccbin ${CMAKE_CXX_COMPILER} --cubin)
    if(UM_NVCC_WORKS)
      set(UM_NVCC_WORKS_NOW ON)
      execute_process(COMMAND ${UM_NVCC} --list-gpu-arch OUTPUT_VARIABLE UM_NVCC_ARCHS)
    else()
      message(STATUS "skipped: ${UM_NVCC} does not work: ${UM_ERROR_UM_NVCC_WORKS}")
    endif()
  endif()
endif()

# ---- clang-22 with its linker ----
set(UM_HIP_FLAGS -x hip --cuda-device-only --no-gpu-bundle-output -nogpuinc -nogpulib -mcode-object-version=5)
set(UM_CLANG_WORKS_NOW OFF)
if(UM_GPU)
  find_program(UM_CLANG clang++-22 PATHS /usr/lib/llvm-22/bin)
  if(NOT UM_CLANG)
    message(STATUS "skipped: no clang-22")
  else()
    um_try_compiler(UM_CLANG_WORKS ${UM_CLANG} ${UM_HIP_FLAGS} --offload-arch=gfx942)
    if(UM_CLANG_WORKS)
      set(UM_CLANG_WORKS_NOW ON)
    else()
      message(STATUS "skipped: ${UM_CLANG} does not work: ${UM_ERROR_UM_CLANG_WORKS}")
    endif()
  endif()
endif()

# um_add_code(<target> <code target> <source> <command...>): one code object; @OUT@ in the command stands for its file.
function(um_add_code target code source)
  get_filename_component(name ${source} NAME_WE)
  get_filename_component(full ${source} ABSOLUTE)
  set(output ${UM_CODE_FOLDER}/${target}/${name}.${code})
  string(REPLACE "@OUT@" ${output} command "${ARGN}")
  add_custom_command(OUTPUT ${output}
    COMMAND ${command} -o ${output} ${full}
    DEPENDS ${full} DEPFILE ${output}.d
    COMMENT "Compiling ${source} for ${code}" VERBATIM)
  set_property(TARGET ${target} APPEND PROPERTY UM_CODE "${code}|${name}|${output}")
endfunction()

# um_embed_later(<target>): the table is written when all calls of the top folder are known.
function(um_embed_later target)
  get_target_property(done ${target} UM_EMBEDS)
  if(NOT done)
    set_target_properties(${target} PROPERTIES UM_EMBEDS ON)
    file(MAKE_DIRECTORY ${UM_CODE_FOLDER}/${target})
    target_sources(${target} PRIVATE ${CMAKE_SOURCE_DIR}/src/device/code_objects.cc)
    cmake_language(EVAL CODE "cmake_language(DEFER DIRECTORY \"${CMAKE_SOURCE_DIR}\" CALL um_embed_code ${target})")
  endif()
endfunction()

function(um_cuda_code target)
  cmake_parse_arguments(C "" "SOURCE" "ARCHS;OPTIONS" ${ARGN})
  um_embed_later(${target})
  if(NOT UM_NVCC_WORKS_NOW)
    return()
  endif()
  foreach(arch IN LISTS C_ARCHS)
    string(REGEX MATCH "[0-9]+" number ${arch})
    if(NOT UM_NVCC_ARCHS MATCHES "compute_${number}\n")
      message(STATUS "skipped: sm_${arch}, unknown to ${UM_NVCC}")
      continue()
    endif()
    if(arch MATCHES "^compute_")
      set(code ${arch})
      set(kind --ptx -arch=${arch})
    else()
      set(code sm_${arch})
      set(kind --cubin -gencode arch=compute_${arch},code=sm_${arch})
    endif()
    um_add_code(${target} ${code} ${C_SOURCE} ${UM_NVCC} -ccbin ${CMAKE_CXX_COMPILER} -x cu -std=c++20 -O3 ${kind}
      --expt-relaxed-constexpr  # constexpr functions of base/ serve host and device, as in clang
      -MD -MT @OUT@ -MF @OUT@.d -DUM_PORT_CUDA -I${CMAKE_SOURCE_DIR}/src ${C_OPTIONS})
  endforeach()
endfunction()

function(um_hip_code target)
  cmake_parse_arguments(C "" "SOURCE" "ARCHS;OPTIONS" ${ARGN})
  um_embed_later(${target})
  if(NOT UM_CLANG_WORKS_NOW)
    return()
  endif()
  foreach(arch IN LISTS C_ARCHS)
    um_add_code(${target} ${arch} ${C_SOURCE} ${UM_CLANG} ${UM_HIP_FLAGS} --offload-arch=${arch} -std=c++20 -O3
      -Xclang -dependency-file -Xclang @OUT@.d -Xclang -MT -Xclang @OUT@  # -MD is for the linker's file here
      -Wall -Wextra -Werror -DUM_PORT_HIP -I${CMAKE_SOURCE_DIR}/src ${C_OPTIONS})
  endforeach()
endfunction()

# um_embed_code(<target>): the table as an assembler file. Every object starts on 64 bytes (loaders read it as ELF) and
# is followed by a zero byte (PTX is a C string).
function(um_embed_code target)
  get_target_property(entries ${target} UM_CODE)
  if(NOT entries)
    set(entries "")
  endif()
  set(data "")
  set(table "")
  set(files "")
  set(i 0)
  foreach(entry IN LISTS entries)
    string(REPLACE "|" ";" entry "${entry}")
    list(GET entry 0 code)
    list(GET entry 1 name)
    list(GET entry 2 file)
    list(APPEND files ${file})
    string(APPEND data "  .balign 64\n.Lbegin${i}:\n  .incbin \"${file}\"\n.Lend${i}:\n  .byte 0\n"
      ".Lcode${i}:\n  .asciz \"${code}\"\n.Lname${i}:\n  .asciz \"${name}\"\n")
    string(APPEND table "  .quad .Lcode${i}, .Lname${i}, .Lbegin${i}, .Lend${i}\n")
    math(EXPR i "${i} + 1")
  endforeach()
  set(assembler ${UM_CODE_FOLDER}/${target}/table.S)
  file(CONFIGURE OUTPUT ${assembler} @ONLY CONTENT [[
# Written by cmake/gpu.cmake.
  .section .rodata
@data@
  .section .data.rel.ro, "aw"
  .balign 8
  .globl um_embedded_code
  .hidden um_embedded_code
um_embedded_code:
@table@
  .globl um_embedded_code_end
  .hidden um_embedded_code_end
um_embedded_code_end:
  .quad 0
  .section .note.GNU-stack, "", %progbits
]])
  set_source_files_properties(${assembler} PROPERTIES OBJECT_DEPENDS "${files}")
  target_sources(${target} PRIVATE ${assembler})
endfunction()
