# shellcheck shell=bash
# A control group for each node's pods, under version 1 (one hierarchy per controller), version 2,
# or both. Sourced, never run.

hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts; }

make_cgroup() { # NAME
  local hierarchy setting
  for hierarchy in $(hierarchies); do
    mkdir -p "$hierarchy/$1"
    if [ -e "$hierarchy/cgroup.controllers" ]; then
      # Version 2: controllers reach a group only when its parents hand them down.
      for setting in $(<"$hierarchy/cgroup.controllers"); do
        echo "+$setting" >"$hierarchy/cgroup.subtree_control"
      done
    fi
    # Version 1: a new group of this controller is unusable until it has both.
    for setting in cpuset.cpus cpuset.mems; do
      [ ! -e "$hierarchy/$setting" ] || [ -e "$hierarchy/cgroup.controllers" ] ||
        cat "$hierarchy/$setting" >"$hierarchy/$1/$setting"
    done
  done
}

remove_cgroup() { # NAME
  local hierarchy
  for hierarchy in $(hierarchies); do
    [ ! -d "$hierarchy/$1" ] || find "$hierarchy/$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}
