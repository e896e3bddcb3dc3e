# shellcheck shell=bash
# Starts the cluster's processes in their network namespaces, and ends those and no others.
# Sourced, never run.

# Runs COMMAND in the network of node N. Not by `ip netns exec`: that mounts a new /sys, which
# hides the control groups from the kubelet.
in_node() { # N COMMAND…
  local node=$1
  shift
  nsenter --net="/run/netns/$(node_namespace "$node")" "$@"
}

# When process PID started, in clock ticks: with the PID it names one process for ever.
started_at() { # PID
  local stat
  # The name, in parentheses, may hold spaces; what follows it does not.
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra stat <<<"${stat##*) }"
  # A zombie has ended, only nobody has asked how.
  [ "${stat[0]}" != Z ] && echo "${stat[19]}"
}

start() { # NAME N COMMAND…
  local name=$1 node=$2
  shift 2
  mkdir -p "$state/log" "$state/pids"
  # Without the caller's descriptors: a lock that it holds would be held until the cluster is down.
  (
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      [ "$fd" -le 2 ] || eval "exec $fd>&-"
    done
    exec setsid nsenter --net="/run/netns/$(node_namespace "$node")" "$@"
  ) </dev/null >>"$state/log/$name.log" 2>&1 &
  echo "$! $(started_at $!)" >"$state/pids/$name"
}

running() { # NAME
  local pid started
  read -r pid started 2>/dev/null <"$state/pids/$1" && [ "$(started_at "$pid")" = "$started" ]
}

# Ends NAME, at once: nothing that it could still write is kept.
stop() { # NAME
  local pid
  if running "$1"; then
    read -r pid _ <"$state/pids/$1"
    kill -KILL "$pid" 2>/dev/null || true
    wait_for 10 "$1 ends" ended "$1"
  fi
  rm -f "$state/pids/$1"
}

ended() { ! running "$1"; } # NAME

answers_or_died() { # NAME COMMAND…
  local name=$1
  shift
  "$@" || ! running "$name"
}

# Waits until the server NAME answers, and fails at once when it has died.
wait_for_server() { # NAME SECONDS COMMAND…
  local name=$1 seconds=$2
  shift 2
  wait_for "$seconds" "$name answers" answers_or_died "$name" "$@"
  running "$name" || die "$name has ended; the end of $state/log/$name.log: $(tail -n 5 "$state/log/$name.log")"
}
