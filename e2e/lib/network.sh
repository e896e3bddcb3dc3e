# shellcheck shell=bash
# A node is a network namespace, joined to the machine by a pair of interfaces. Sourced, never run.

add_node_network() { # N
  local node=$1 namespace interface
  namespace=$(node_namespace "$node")
  interface=$(node_interface "$node")
  ip netns add "$namespace"
  ip link add "$interface" type veth peer name eth0 netns "$namespace"
  ip address add "$(machine_address "$node")/30" dev "$interface"
  ip address add "$(machine_address6 "$node")/64" dev "$interface" nodad
  ip link set "$interface" up
  in_node "$node" sh -eu <<END
ip link set lo up
ip address add $(node_address "$node")/30 dev eth0
ip address add $(node_address6 "$node")/64 dev eth0 nodad
ip link set eth0 up
ip route add default via $(machine_address "$node")
ip -6 route add default via $(machine_address6 "$node")
sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
END
  # From the machine, Services are reached through the first node.
  if [ "$node" = 1 ]; then
    ip route replace "$service_range" via "$(node_address 1)"
    ip -6 route replace "$service_range6" via "$(node_address6 1)"
  fi
}

# Nodes reach each other through the machine, which must then forward.
let_machine_forward() {
  local setting
  for setting in net.ipv4.ip_forward net.ipv6.conf.all.forwarding; do
    [ -e "$state/sysctl-$setting" ] || sysctl -n "$setting" >"$state/sysctl-$setting"
    sysctl -q -w "$setting=1"
  done
}

restore_machine_forwarding() {
  local file
  for file in "$state"/sysctl-*; do
    [ -e "$file" ] || continue
    sysctl -q -w "${file##*/sysctl-}=$(cat "$file")"
  done
}

remove_node_network() { # N
  # The pair of interfaces goes with the namespace, the routes with the interface.
  ip link delete "$(node_interface "$1")" 2>/dev/null || true
  ip netns delete "$(node_namespace "$1")" 2>/dev/null || true
}
