# SPDX-License-Identifier: Apache-2.0
# Shared by setup.sh and test.sh: messages, logged commands, and the distribution's packages. Sourced, never run.
# shellcheck shell=bash
# The sourcing script sets LOG to the file that takes the output of quiet commands.

PACKAGES=(g++ cmake ninja-build ccache python3 python3-pip ca-certificates git libboost-dev libboost-context-dev
  nlohmann-json3-dev libcli11-dev libpcre2-dev libutf8proc-dev libfmt-dev libssl-dev zlib1g-dev libgtest-dev
  strace)

CLANG_PACKAGES=(clang-22 lld-22 llvm-22)  # for AMD GPUs: Debian 12 has them in bookworm-security

JOB=  # process id of the quiet command that runs now

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
  say "$@"
  exit 1
}

# stop_job: ends the quiet command, if one runs (for traps).
stop_job() {
  [[ -z $JOB ]] || kill "$JOB" 2>/dev/null || true
  JOB=
}

# quiet TITLE COMMAND...: runs the command with its output in $LOG; on a terminal shows its last line as progress.
quiet() {
  local title=$1 status=0
  shift
  printf '\n== %s: %s\n' "$title" "$*" >>"$LOG"
  [[ -t 2 ]] || say "$title"
  "$@" >>"$LOG" 2>&1 </dev/null &
  JOB=$!
  while [[ -t 2 ]] && kill -0 "$JOB" 2>/dev/null; do
    printf '\r\033[K%s: %s' "$title" "$(tail -n 1 "$LOG" | grep -v '^== ' | tr -cd '[:print:]' | cut -c 1-60)" >&2
    sleep 0.3
  done
  wait "$JOB" || status=$?
  JOB=
  [[ ! -t 2 ]] || printf '\r\033[K' >&2
  return "$status"
}

# show_log [LINES]: the end of $LOG on stderr, for a command that failed.
show_log() {
  tail -n "${1:-25}" "$LOG" | sed 's/^/  | /' >&2
}

# as_root COMMAND...: runs it with the rights to install packages.
as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  else
    sudo "$@"
  fi
}

# missing_packages NAME...: those that dpkg does not list as installed.
missing_packages() {
  local present
  present=" $(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
    awk '$2 == "installed" {print $1}' | tr '\n' ' ')"
  local name
  for name in "$@"; do
    [[ $present == *" $name "* ]] || printf '%s ' "$name"
  done
}

# apt_install NAME...: asks apt-get for them; false when it refuses. Never removes a package.
apt_install() {
  quiet "installing packages" as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends --no-remove "$@"
}

# require_root WHAT: dies with a remedy where packages cannot be installed.
require_root() {
  [[ $EUID -eq 0 ]] && return
  command -v sudo >/dev/null || die "missing packages: $1; run as root: apt-get install $1"
  sudo -n true 2>/dev/null && return
  [[ -t 0 && -t 2 ]] || die "missing packages: $1; sudo wants a password: run 'sudo apt-get install $1' first"
  sudo -v || die "missing packages: $1; sudo refused: have an administrator run apt-get install $1"
}

# ensure_packages: installs those of PACKAGES that are missing; does nothing, and starts no apt, when none is.
ensure_packages() {
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    local tool
    for tool in g++ cmake ninja python3 git; do
      command -v "$tool" >/dev/null || die "$tool is missing and there is no apt-get: install what README.md lists"
    done
    return
  fi
  local missing
  read -ra missing <<<"$(missing_packages "${PACKAGES[@]}")"
  [[ ${#missing[@]} -gt 0 ]] || return 0
  require_root "${missing[*]}"
  if ! quiet "reading package lists" as_root apt-get update; then
    show_log 5
    die "apt-get update failed: check the network and /etc/apt, then run again"
  fi
  if ! apt_install "${missing[@]}"; then
    show_log 5
    die "apt-get could not install ${missing[*]}: check the network and $LOG, then run again"
  fi
}

# ensure_clang: installs those of CLANG_PACKAGES that are missing. 1, with a message, where they are not to be had; 2
# when apt-get fails. The caller sees to the rights.
ensure_clang() {
  local missing
  if ! command -v dpkg-query >/dev/null || ! command -v apt-cache >/dev/null; then
    command -v clang++-22 >/dev/null && return
    say "skipped: no clang-22 (a Debian package): no code for AMD GPUs"
    return 1
  fi
  read -ra missing <<<"$(missing_packages "${CLANG_PACKAGES[@]}")"
  [[ ${#missing[@]} -gt 0 ]] || return 0
  quiet "reading package lists" as_root apt-get update || true
  if [[ -z $(apt-cache search --names-only '^clang-22$') ]]; then
    say "skipped: this distribution has no clang-22 (Debian 12 has it in bookworm-security): no code for AMD GPUs"
    return 1
  fi
  apt_install "${missing[@]}" || { show_log 5 && return 2; }
}
