# shellcheck shell=bash
# The cluster of our own, as a whole. Sourced, never run.

own_nodes() { # prints the numbers of the nodes that exist
  local directory
  for directory in "$state"/node[0-9]*; do
    [ ! -d "$directory" ] || echo "${directory##*/node}"
  done
}

own_healthy() {
  [ -e "$kubeconfig" ] && running kube-apiserver && api_ready >/dev/null 2>&1
}

own_up() {
  local nodes=1 node
  case ${1:-} in
    '') ;;
    --nodes) nodes=${2:?"--nodes needs a number"} ;;
    *) die "unknown: $1. Usage: e2e/cluster up [--nodes N]" ;;
  esac
  [ "$(id -u)" = 0 ] || die "only root can make network namespaces. Run it with sudo, or name a cluster in E2E_KUBECONFIG"
  packages runc iproute2 nftables util-linux mount procps openssl gcc libc6-dev python3
  build_components etcd containerd cni kubernetes coredns helm
  link_programs
  own_healthy || { own_down; start_first_node; }
  for ((node = 2; node <= nodes; node++)); do
    [ ! -e "$(node_mark "$node")" ] || continue
    [ ! -d "$state/node$node" ] || remove_node "$node"
    let_machine_forward
    say "starting node$node"
    start_node "$node"
  done
  wait_for 60 "every node is ready" nodes_ready "$nodes"
  own_status
}

start_first_node() {
  say "starting node1"
  mkdir -p "$state"
  # The control plane needs the node's network, and the node the control plane.
  add_node_network 1
  start_control_plane
  start_node 1
  make_coredns_image
  node_ctr 1 images import "$cache/images/coredns.tar" >/dev/null
  cluster_kubectl apply -f "$e2e/lib/coredns.yaml" >/dev/null
  cluster_kubectl -n kube-system rollout status deployment coredns --timeout 90s >/dev/null
}

make_coredns_image() {
  local program
  program=$(component_dir coredns)/coredns
  [ "$cache/images/coredns.tar" -nt "$program" ] ||
    "$e2e/lib/oci.py" --name outrigger.dev/e2e/coredns:1 --entrypoint /coredns \
      --output "$cache/images/coredns.tar" "$program=/coredns"
}

nodes_ready() { # AT_LEAST
  local ready
  ready=$(cluster_kubectl get nodes --no-headers | awk '$2 == "Ready"' | wc -l)
  echo "$ready ready"
  [ "$ready" -ge "$1" ]
}

# One directory for PATH, whatever the versions are.
link_programs() {
  local component program
  mkdir -p "$cache/bin"
  for component in kubernetes helm containerd; do
    for program in "$(component_dir "$component")"/*; do
      ln -sfn "$program" "$cache/bin/"
    done
  done
}

own_status() {
  own_healthy || { say "no cluster. Start one with: e2e/cluster up"; return 1; }
  local name
  for name in "$state"/pids/*; do
    name=${name##*/}
    running "$name" || say "$name has ended; see $state/log/$name.log"
  done
  cluster_kubectl get nodes -o wide >&2
  say "To use it: export KUBECONFIG=$kubeconfig PATH=$cache/bin:\$PATH"
}

own_down() { # [N]
  local node name
  if [ $# -gt 0 ]; then
    remove_node "$1"
    return
  fi
  for node in $(own_nodes); do
    stop_node "$node"
  done
  for name in kube-scheduler kube-controller-manager kube-apiserver etcd; do
    stop "$name"
  done
  # The first node's network exists before its directory does.
  remove_node_network 1
  restore_machine_forwarding
  unmount_below "$state"
  rm -rf --one-file-system "$state"
}

own_networks() {
  local node
  for node in $(own_nodes); do
    echo "/run/netns/$(node_namespace "$node")"
  done
}

own_load() {
  own_healthy || die "no cluster. Start one with: e2e/cluster up"
  local node archive
  for archive in "$@"; do
    for node in $(own_nodes); do
      node_ctr "$node" images import "$archive" >&2
    done
  done
}
