# SPDX-License-Identifier: Apache-2.0
# Planted bugs of kernels for Hopper: one header with one text replaced; the kernel's test, built with it, must fail.

# um_planted_nvidia(kernel name path from to)
function(um_planted_nvidia kernel name path from to)
  um_planted_copy(nvidia_${name} ${path} "${from}" "${to}")
  add_executable(nvidia_mutant_${name} src/kernels/nvidia/${kernel}_test.cc)
  target_link_libraries(nvidia_mutant_${name} PRIVATE um_kernels um_emulator GTest::gtest GTest::gtest_main)
  target_include_directories(nvidia_mutant_${name} BEFORE PRIVATE ${CMAKE_BINARY_DIR}/mutants/nvidia_${name})
  target_compile_definitions(nvidia_mutant_${name} PRIVATE UM_PORT_EMULATOR UM_EMULATOR_LANES=32
    UM_SANITIZERS="")
  target_compile_options(nvidia_mutant_${name} PRIVATE -O1 -Wno-unknown-pragmas -Wno-missing-field-initializers)
  add_test(NAME nvidia_mutant_${name} COMMAND nvidia_mutant_${name} --gtest_fail_fast)
  set_tests_properties(nvidia_mutant_${name} PROPERTIES TIMEOUT 120 WILL_FAIL ON)
endfunction()

um_planted_nvidia(linear_chain early_x kernels/nvidia/linear_chain.h
  "if (l > 0) WaitPhase(ready + 8 * l, 0);" "(void)ready;")
um_planted_nvidia(linear_chain full_ring kernels/nvidia/wflat_feed.h
  "WaitPhase(at.Empty(), at.parity);\n    FetchWeights" "FetchWeights")
um_planted_nvidia(linear_chain early_parts kernels/nvidia/wflat_parts.h
  "missing |= AnyNone(v[b][i]);" "missing |= false;")
um_planted_nvidia(linear_chain kept_words kernels/nvidia/wflat_parts.h
  "StoreRelaxed(piece.Place(parts.Of(block), 1), none);" "(void)none;")
# What only the race check of shared memory finds for certain.
um_planted_nvidia(linear_chain no_meeting kernels/nvidia/linear_wflat.h
  "meet();  // orders the sums before they are read" "")
um_planted_nvidia(linear_chain lone_arrival kernels/nvidia/wflat_feed.h
  "GroupSync();           // orders all lanes' reads before their one arrival" "")
um_planted_nvidia(linear_chain early_factors kernels/nvidia/linear_chain.h
  "if (link.x_sums != nullptr) WaitPhase(scaled + 8 * l, 0);" "(void)scaled;")
um_planted_nvidia(linear_chain kept_mean kernels/nvidia/wflat_ends.h
  "if (link.layer) AddWhole(to + 1, ToWhole(sum * (1 << kSumBits)));" "(void)sum;")
um_planted_nvidia(linear_chain kept_sums kernels/nvidia/linear_chain.h
  "i < kChainLinks * kChainRows * 2; i += kLanes" "i < kChainLinks * kChainRows; i += kLanes")
um_planted_nvidia(linear_wgmma early_stage kernels/nvidia/linear_wgmma.h
  "WaitPhase(p.Full(ring), p.phase);\n    LoadWeights<2>" "LoadWeights<2>")
um_planted_nvidia(linear_wgmma full_stage kernels/nvidia/linear_wgmma_feed.h
  "WaitPhase(full + 8, p.phase ^ 1);" "")
um_planted_nvidia(linear_wgmma early_sums kernels/nvidia/linear_wgmma_store.h
  "while (LoadAcquire(counter) < count)" "while (false)")
um_planted_nvidia(linear_wgmma lone_leaving kernels/nvidia/linear_wgmma.h
  "GroupSync();  // orders all lanes' reads before the arrivals" "")
um_planted_nvidia(attention_wgmma early_keys kernels/nvidia/attention_wgmma.h
  "WaitPhase(s.Full(), s.phase);" "")
um_planted_nvidia(attention_wgmma full_keys kernels/nvidia/attention_wgmma.h
  "WaitPhase(s.Full() + 8, s.phase ^ 1);" "")
um_planted_nvidia(attention_wgmma lone_keys kernels/nvidia/attention_wgmma.h
  "GroupSync();  // orders all lanes' reads before their one arrival" "")
# Products that may still read.
um_planted_nvidia(linear_chain early_freeing kernels/nvidia/linear_wflat.h
  "at.w.Free();\n  WaitProducts<0>();\n  at.x.Free();" "at.w.Free();\n  at.x.Free();\n  WaitProducts<0>();")
um_planted_nvidia(linear_wgmma early_leaving kernels/nvidia/linear_wgmma.h
  "WaitProducts<1>();\n    if (running != 0) LeaveStage(running);\n    running = p.Full(ring);"
  "LeaveStage(p.Full(ring));")
