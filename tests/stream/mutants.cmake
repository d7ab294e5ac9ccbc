# SPDX-License-Identifier: Apache-2.0
# Planted bugs of the stream kernel: a test that cannot fail proves nothing. Each is one source with one text replaced;
# stream_test, built with it, must fail.

# um_planted_test(name source): stream_test with `source` in place of the library's object.
function(um_planted_test name source)
  add_executable(stream_mutant_${name} src/exec/stream_test.cc ${source})
  target_link_libraries(stream_mutant_${name} PRIVATE um_exec GTest::gtest GTest::gtest_main)
  target_compile_definitions(stream_mutant_${name} PRIVATE UM_SANITIZERS="")
  add_test(NAME stream_mutant_${name} COMMAND stream_mutant_${name} --gtest_filter=-*OnAGpu --gtest_fail_fast)
  set_tests_properties(stream_mutant_${name} PROPERTIES TIMEOUT 300 WILL_FAIL ON)
endfunction()

# um_planted_kernel(name path from to): a header of the kernels, compiled for the emulator at 32 lanes.
function(um_planted_kernel name path from to)
  um_planted_copy(${name} ${path} "${from}" "${to}")
  um_planted_test(${name} src/kernels/gpu/emulator_entries.cc)
  target_include_directories(stream_mutant_${name} BEFORE PRIVATE ${CMAKE_BINARY_DIR}/mutants/${name})
  target_compile_definitions(stream_mutant_${name} PRIVATE UM_PORT_EMULATOR UM_EMULATOR_LANES=32)
  target_compile_options(stream_mutant_${name} PRIVATE -O1 -Wno-unknown-pragmas)
endfunction()

um_planted_kernel(missing_epoch kernels/gpu/stream_words.h
  "while (odd != epoch && wait.Again(a, t.stage" "while (false && wait.Again(a, t.stage")
um_planted_kernel(ring_overrun kernels/gpu/stream_feed.h
  "RingWaitFree(StreamLayout::kBarriers, t.slot, t.turn, base);\n        if (r.left <= chunk)" "if (r.left <= chunk)")
um_planted_kernel(lost_claim kernels/gpu/stream_feed.h "next = next < s.units ? next : -1;" "next = -1;")
um_planted_kernel(claimed_twice kernels/gpu/stream_feed.h "Claim(a.claims + t.stage) - claimed"
  "0 * claimed + unit + GridX() / 2")
um_planted_kernel(kept_claims kernels/gpu/stream.h "a.claims[i] = 0;" "a.claims[i] += 0;")
um_planted_kernel(early_query kernels/gpu/stream_ask.h "AwaitOpened(r);" "")
um_planted_kernel(early_sums kernels/gpu/stream_merge.h "AwaitLeft(t.run);" "")
um_planted_kernel(states_overrun kernels/gpu/stream_attention.h "AwaitDone(t.run - ahead);" "")
um_planted_kernel(lost_spread kernels/gpu/stream_norm.h "static_cast<float>(s.sum_cols) * apart" "0 * apart")
um_planted_kernel(lost_mean kernels/gpu/stream_linear.h "v -= scales.Get(" "v -= 0 * scales.Get(")
um_planted_kernel(unseen_values kernels/gpu/stream_attention.h "if (edge) Blank(values, first, start, end);" "")
um_planted_copy(early_reuse exec/stream_plan.cc "return user < writer && StreamOrdered(plan.stages, user, writer);"
  "return user >= 0 && writer >= 0;")
um_planted_test(early_reuse ${CMAKE_BINARY_DIR}/mutants/early_reuse/exec/stream_plan.cc)
