#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds and runs all tests: release, debug (address and undefined-behaviour sanitizers), and under the thread sanitizer
# those that are labelled tsan. GPU code is compiled where its compilers are present (that for AMD GPUs is installed
# where apt offers it) and never run.
# The last line is "N passed, N failed", summed over all runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

mkdir -p build
readonly LOG=$PWD/build/test.log

# shellcheck source=scripts/packages.sh
source scripts/packages.sh

usage() {
  cat <<'END'
Usage: ./test.sh [flags]

  --quick   release only, without sanitizers
  --help    this text

Examples:
  ./test.sh
  ./test.sh --quick
END
}

PASSED=0 FAILED=0 SKIPPED=0

# count LOG CTEST_STATUS: adds what ctest's closing lines say to the sums.
count() {
  local status=$2 all failed skipped
  read -r failed all <<<"$(sed -n 's/.*% tests passed, \([0-9]*\) tests\? failed out of \([0-9]*\)$/\1 \2/p' "$1")"
  skipped=$(grep -c '^[[:space:]]*[0-9]* - .* (Skipped)$' "$1" || true)
  [[ $status -eq 0 || ${failed:-0} -gt 0 ]] || failed=1  # no test failed but the run did
  FAILED=$((FAILED + failed))
  SKIPPED=$((SKIPPED + skipped))
  [[ -z $all ]] || PASSED=$((PASSED + all - failed - skipped))
}

# run PRESET LABEL: builds what the label needs ("" means everything) and runs its tests.
run() {
  local preset=$1 label=$2 status=0 select=() targets=()
  printf '\n== %s%s\n' "$preset" "${label:+, tests labelled $label}"
  cmake --preset "$preset" || status=$?
  if [[ $status -eq 0 && -n $label ]]; then
    select=(-L "^$label\$")
    # um_test names a test after its target.
    read -ra targets <<<"$(ctest --test-dir "build/$preset" -N "${select[@]}" |
      sed -n 's/^ *Test *#[0-9]*: //p' | tr '\n' ' ')"
    if [[ ${#targets[@]} -eq 0 ]]; then
      echo "no test is labelled $label"
      return
    fi
  fi
  if [[ $status -ne 0 ]] || ! ninja -C "build/$preset" -j "$(nproc)" "${targets[@]}"; then
    echo "the $preset build failed"
    FAILED=$((FAILED + 1))
    return
  fi
  ctest --test-dir "build/$preset" "${select[@]}" -j "$(nproc)" --output-on-failure --no-tests=error \
    2>&1 | tee "build/$preset/ctest.log" || status=$?
  count "build/$preset/ctest.log" "$status"
}

QUICK=no
for argument in "$@"; do
  case $argument in
    --quick) QUICK=yes ;;
    -h | --help) usage && exit 0 ;;
    *) die "unknown argument $argument: see ./test.sh --help" ;;
  esac
done

trap stop_job EXIT
: >"$LOG"
ensure_packages
if [[ $EUID -eq 0 ]] || sudo -n true 2>/dev/null; then
  ensure_clang || say "AMD GPUs: nothing is compiled and checked for them"
fi
START=$SECONDS
run release ""
if [[ $QUICK == no ]]; then
  run debug ""
  run tsan tsan
fi

printf '\nall runs took %d s\n' $((SECONDS - START))
printf '%d passed, %d failed' "$PASSED" "$FAILED"
[[ $SKIPPED -eq 0 ]] || printf ', %d skipped' "$SKIPPED"
printf '\n'
[[ $FAILED -eq 0 ]]
