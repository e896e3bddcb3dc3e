# shellcheck shell=bash
# Paths, names and the few helpers that every part of e2e/ uses. Sourced, never run.

e2e=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Programs and images: built once, kept between clusters.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/outrigger/e2e
# What a running cluster owns: certificates, pids, logs, etcd's and containerd's data.
state=${XDG_STATE_HOME:-$HOME/.local/state}/outrigger/e2e
kubeconfig=$state/kubeconfig

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# Retries COMMAND four times a second until it succeeds; after SECONDS says WHAT did not happen,
# with the last that the command printed.
wait_for() { # SECONDS WHAT COMMAND…
  local deadline=$((SECONDS + $1)) what=$2 seen
  shift 2
  until seen=$("$@" 2>&1); do
    ((SECONDS < deadline)) || die "$what: not within the time given. Last seen: ${seen:-nothing}"
    sleep 0.25
  done
}

# Installs the Debian packages that are absent.
packages() { # PACKAGE…
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "missing: ${missing[*]}. Run: sudo apt-get install ${missing[*]}"
  say "installing ${missing[*]}"
  apt-get update -qq
  # RUNLEVEL=1: the cluster starts what it needs, the packages need not.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}
