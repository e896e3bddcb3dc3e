# shellcheck shell=bash
# Builds Kubernetes and its company from Go modules, each once per version. Sourced, never run.
#
# e2e/build/COMPONENT/go.mod says all there is to know: its `tool` lines are the programs, and the
# requirement that provides them is the version.

# The order is the one in which a waiting person needs them.
components=(etcd containerd cni helm kubernetes coredns jaeger)

component_version() { # COMPONENT
  awk '
    $1 == "tool" { program = $2 }
    $1 == "require" { sub(/^require /, "") }
    $2 ~ /^v[0-9]/ { version[$1] = $2 }
    END {
      for (module = program; module != ""; ) {
        if (module in version) { print version[module]; exit }
        if (!sub("/[^/]*$", "", module)) module = ""
      }
    }' "$e2e/build/$1/go.mod"
}

# Where COMPONENT's programs are, or will be.
component_dir() { # COMPONENT
  echo "$cache/$1-$(component_version "$1")"
}

build_components() { # COMPONENT…
  command -v go >/dev/null || die "go is missing, which builds the cluster. Get it from https://go.dev/dl"
  local component lock
  for component in "$@"; do
    [ ! -e "$(component_dir "$component")/.complete" ] || continue
    # One at a time: who comes second finds it built.
    mkdir -p "$cache"
    exec {lock}>"$cache/build.lock"
    flock "$lock"
    [ -e "$(component_dir "$component")/.complete" ] || build_component "$component"
    exec {lock}>&-
  done
}

build_component() { # COMPONENT
  local component=$1 dir version
  dir=$(component_dir "$component")
  version=$(component_version "$component")
  [ -n "$version" ] || die "e2e/build/$component/go.mod requires no module that provides its tools"
  local partial=$dir.partial log=$dir.log flags="-s -w" cgo=0
  if [ "$component" = kubernetes ]; then
    # Without these the server has no version that Helm would accept.
    local package=k8s.io/component-base/version numbers
    IFS=. read -ra numbers <<<"${version#v}"
    flags+=" -X $package.gitVersion=$version -X $package.gitMajor=${numbers[0]} -X $package.gitMinor=${numbers[1]}"
    # Runs on the machine, never in an image, so it may use the machine's resolver.
    cgo=1
  fi
  rm -rf "$partial"
  mkdir -p "$partial"
  : >"$log"
  (cd "$e2e/build/$component" &&
    CGO_ENABLED=$cgo GOFLAGS=-mod=readonly go build -v -trimpath -ldflags "$flags" -o "$partial/" tool) >"$log" 2>&1 &
  show_progress $! "$component $version" "$log" || die "building $component failed; the end of $log: $(tail -n 20 "$log")"
  # A package's directory names its program, and some are called "server": one program alone is
  # called what its component is.
  local programs=("$partial"/*)
  [ ${#programs[@]} != 1 ] || [ "${programs[0]}" = "$partial/$component" ] || mv "${programs[0]}" "$partial/$component"
  touch "$partial/.complete"
  rm -rf "$dir"
  mv "$partial" "$dir"
}

# Says now and then how far the build PID is, by the lines in its log. Returns the build's status.
show_progress() { # PID WHAT LOG
  local pid=$1 what=$2 log=$3 start=$SECONDS next=0
  while kill -0 "$pid" 2>/dev/null; do
    if ((SECONDS - start >= next)); then
      say "building $what: $((SECONDS - start)) s, $(wc -l <"$log") packages done"
      next=$((next + 20))
    fi
    sleep 0.5
  done
  wait "$pid" && say "built $what in $((SECONDS - start)) s"
}
