# SPDX-License-Identifier: Apache-2.0
# Planted bugs of linear_chain: one header with one text replaced; linear_chain_test, built with it, must fail.

# um_planted_chain(name path from to)
function(um_planted_chain name path from to)
  um_planted_copy(${name} ${path} "${from}" "${to}")
  add_executable(chain_mutant_${name} src/kernels/nvidia/linear_chain_test.cc)
  target_link_libraries(chain_mutant_${name} PRIVATE um_kernels um_emulator GTest::gtest GTest::gtest_main)
  target_include_directories(chain_mutant_${name} BEFORE PRIVATE ${CMAKE_BINARY_DIR}/mutants/${name})
  target_compile_definitions(chain_mutant_${name} PRIVATE UM_PORT_EMULATOR UM_EMULATOR_LANES=32)
  target_compile_options(chain_mutant_${name} PRIVATE -O1 -Wno-unknown-pragmas -Wno-missing-field-initializers)
  add_test(NAME chain_mutant_${name} COMMAND chain_mutant_${name} --gtest_fail_fast)
  set_tests_properties(chain_mutant_${name} PROPERTIES TIMEOUT 120 WILL_FAIL ON)
endfunction()

um_planted_chain(early_x kernels/nvidia/linear_chain.h "if (l > 0) WaitPhase(ready + 8 * l, 0);" "(void)ready;")
um_planted_chain(full_ring kernels/nvidia/linear_chain.h
  "WaitPhase(at.Empty(), at.parity);\n      FetchWeights" "FetchWeights")
um_planted_chain(early_parts kernels/nvidia/linear_chain_parts.h "missing |= AnyNone(v[b][i]);" "missing |= false;")
um_planted_chain(kept_words kernels/nvidia/linear_chain_parts.h
  "StoreRelaxed(piece.Place(parts.Of(block), 1), none);" "(void)none;")
# What only the race check of shared memory finds for certain.
um_planted_chain(no_meeting kernels/nvidia/linear_wflat.h "meet();  // orders the sums before they are read" "")
um_planted_chain(lone_arrival kernels/nvidia/linear_wflat.h
  "GroupSync();           // orders all lanes' reads before their one arrival" "")
um_planted_chain(early_factors kernels/nvidia/linear_chain.h
  "if (link.x_squares != nullptr) WaitPhase(scaled + 8 * l, 0);" "(void)scaled;")
