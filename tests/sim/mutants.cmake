# SPDX-License-Identifier: Apache-2.0
# Planted bugs: a test that cannot fail proves nothing. Each is one source of the scheduler with one text replaced; the
# program made with it must find the bug by simulation (mutant_main.cc). A second argument prints the shrunk schedule.

# um_mutant(name file from to)
function(um_mutant name file from to)
  um_planted_copy(${name} engine/${file} "${from}" "${to}")
  add_executable(mutant_${name} ${CMAKE_BINARY_DIR}/mutants/${name}/engine/${file} $<TARGET_OBJECTS:um_mutant_main>)
  target_link_libraries(mutant_${name} PRIVATE um_sim)
  add_test(NAME mutant_${name} COMMAND mutant_${name} ${name})
  set_tests_properties(mutant_${name} PROPERTIES TIMEOUT 300)
endfunction()

add_library(um_mutant_main OBJECT tests/sim/mutant_main.cc)
target_include_directories(um_mutant_main PRIVATE tests)

um_mutant(dropped_release scheduler.cc "index = s.pages - 1; index >= 0" "index = s.pages - 1; index > 0")
um_mutant(page_count scheduler.cc "s.pages < PagesFor(s.planned + 1)" "s.pages < PagesFor(s.planned)")
um_mutant(skipped_reference kv_pages.cc "  ++p.references;" "  p.references += p.references == 0;")
um_mutant(kept_identity kv_pages.cc "    RemoveIdle(page);\n    Forget(page);" "    RemoveIdle(page);")
um_mutant(parent_ignored kv_pages.cc "at(page).parent == content.parent &&" "")
um_mutant(ids_ignored kv_pages.cc "&& std::ranges::equal(Ids(page), content.ids)" "")
um_mutant(early_publish scheduler.cc "options_.page_tokens <= s.computed" "options_.page_tokens <= s.planned")
um_mutant(whole_prompt_shared scheduler.cc "from + tokens < ids.size()" "from + tokens <= ids.size()")
um_mutant(stale_position scheduler.cc "s.planned = s.computed = s.published *" "s.computed = s.published *")
um_mutant(rank_ignored scheduler.cc "std::tie(at(a).rank, at(a).order)" "std::tie(at(b).rank, at(a).order)")
um_mutant(host_ignored scheduler.cc "(s.of.needs_host ? 0 : s.pending)" "s.pending")
um_mutant(half_failed scheduler.cc "for (; open_ > 0; --open_) {" "for (const int n = open_; open_ == n; --open_) {")
um_mutant(budget_ignored scheduler.cc "std::min(budget - used, " "std::min(budget - used / 2, ")
um_mutant(late_deadline scheduler.cc "if (expiry <= now)" "if (expiry < now)")
um_mutant(stuck_pending scheduler.cc "  --s->pending;\n" "")
