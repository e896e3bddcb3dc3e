# shellcheck shell=bash
# A node: containerd, the kubelet and kube-proxy in a network namespace. Sourced, never run.

pause_image=outrigger.dev/e2e/pause:1

containerd_socket() { echo "$state/node$1/containerd.sock"; } # N
node_ctr() { # N ARGUMENT…
  local node=$1
  shift
  [ -S "$(containerd_socket "$node")" ] || die "there is no node $node"
  "$(component_dir containerd)/ctr" --address "$(containerd_socket "$node")" --namespace k8s.io "$@"
}

start_node() { # N
  local node=$1
  mkdir -p "$state/node$node/cni"
  # The first node's network is there already: the control plane runs in it.
  [ -e "/run/netns/$(node_namespace "$node")" ] || add_node_network "$node"
  make_cgroup "$(node_namespace "$node")"
  start_containerd "$node"
  [ "$node" = 1 ] || copy_images "$node"
  start_kubelet "$node"
  wait_for 60 "node$node registers and gets addresses for its pods" node_pod_ranges "$node"
  configure_cni "$node"
  start_kube_proxy "$node"
  : >"$(node_mark "$node")"
}

# There once node N has come up whole.
node_mark() { echo "$state/node$1/up"; } # N

start_containerd() { # N
  local node=$1 directory=$state/node$1 programs
  programs=$(component_dir containerd)
  mkdir -p "$directory/registries/_default"
  # No image is ever fetched. A refused connection says so at once, a resolver after 30 s.
  echo 'server = "http://127.0.0.1:9"' >"$directory/registries/_default/hosts.toml"
  cat >"$directory/containerd.toml" <<END
version = 3
root = "$directory/containerd"
state = "$directory/run"
[grpc]
address = "$(containerd_socket "$node")"
[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "$pause_image"
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = "$directory/registries"
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["$(component_dir cni)"]
conf_dir = "$directory/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
END
  start "node$node-containerd" "$node" env PATH="$programs:$PATH" \
    "$programs/containerd" --config "$directory/containerd.toml"
  wait_for_server "node$node-containerd" 30 node_ctr "$node" version
  make_pause_image
  node_ctr "$node" images import "$cache/images/pause.tar" >/dev/null
}

# Gives node N the images that the first node has, so that pods may run on either. Without --local the
# export may end, as if all were well, before its last bytes are written.
copy_images() { # N
  local names=()
  mapfile -t names < <(node_ctr 1 images list --quiet | grep -v ^sha256:)
  node_ctr 1 images export --local - "${names[@]}" | node_ctr "$1" images import - >/dev/null
}

make_pause_image() {
  local image=$cache/images/pause.tar
  [ ! "$image" -nt "$e2e/lib/pause.c" ] || return 0
  mkdir -p "$cache/images"
  cc -Os -static -o "$cache/images/pause" "$e2e/lib/pause.c"
  "$e2e/lib/oci.py" --name "$pause_image" --entrypoint /pause --output "$image" "$cache/images/pause=/pause"
  rm "$cache/images/pause"
}

start_kubelet() { # N
  local node=$1 name=node$1 directory=$state/node$1
  make_certificate "$name" ca "/O=system:nodes/CN=system:node:$name" \
    "DNS:$name,IP:$(node_address "$node"),IP:$(node_address6 "$node")"
  write_kubeconfig "$directory/kubelet.kubeconfig" "$name"
  : >"$directory/resolv.conf"
  cat >"$directory/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $pki/$name.crt
tlsPrivateKeyFile: $pki/$name.key
containerRuntimeEndpoint: unix://$(containerd_socket "$node")
cgroupDriver: cgroupfs
cgroupRoot: /$(node_namespace "$node")
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
enforceNodeAllocatable: []
# Nothing is evicted and no image is collected: there is no registry to fetch it from again.
evictionHard: {memory.available: 10Mi, nodefs.available: 100Mi, imagefs.available: 100Mi}
imageGCHighThresholdPercent: 100
serializeImagePulls: false
clusterDNS: [$dns_address]
clusterDomain: cluster.local
resolvConf: $directory/resolv.conf
podLogsDir: $directory/pod-logs
maxPods: 250
END
  start "$name-kubelet" "$node" "$(component_dir kubernetes)/kubelet" \
    --config "$directory/kubelet.yaml" \
    --kubeconfig "$directory/kubelet.kubeconfig" \
    --root-dir "$directory/kubelet" \
    --hostname-override "$name" \
    --node-ip "$(node_address "$node"),$(node_address6 "$node")" \
    --node-labels "topology.kubernetes.io/zone=zone$node"
}

# Prints the ranges that node N's pods get their addresses from; fails while it has none.
node_pod_ranges() { # N
  local ranges
  ranges=$(cluster_kubectl get node "node$1" -o 'jsonpath={.spec.podCIDRs[*]}') && [ -n "$ranges" ] && echo "$ranges"
}

configure_cni() { # N
  local node=$1 range4 range6
  read -r range4 range6 < <(node_pod_ranges "$node")
  cat >"$state/node$node/cni/bridge.conflist.partial" <<END
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$state/node$node/addresses",
            "ranges": [[{"subnet": "$range4"}], [{"subnet": "$range6"}]],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}]}
END
  mv "$state/node$node/cni/bridge.conflist.partial" "$state/node$node/cni/bridge.conflist"
  ip route replace "$range4" via "$(node_address "$node")"
  ip -6 route replace "$range6" via "$(node_address6 "$node")"
}

start_kube_proxy() { # N
  local node=$1 directory=$state/node$1
  cat >"$directory/kube-proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $state/proxy.kubeconfig}
mode: nftables
clusterCIDR: $pod_range,$pod_range6
hostnameOverride: node$node
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
END
  start "node$node-kube-proxy" "$node" "$(component_dir kubernetes)/kube-proxy" --config "$directory/kube-proxy.yaml"
}

# Removes node N, but the first, which has the control plane.
remove_node() { # N
  [ "$1" -gt 1 ] && [ -d "$state/node$1" ] || die "there is no node $1 that could be removed"
  # One that has come up only half is not known to the cluster.
  cluster_kubectl drain "node$1" --ignore-daemonsets --delete-emptydir-data --force --timeout 60s >&2 || true
  stop_node "$1"
  cluster_kubectl delete node "node$1" --ignore-not-found >&2
  unmount_below "$state/node$1"
  rm -rf --one-file-system "$state/node$1"
}

# What the kubelet and containerd mounted, innermost first.
unmount_below() { # DIRECTORY
  local target
  awk -v under="$1/" 'index($2, under) == 1 { print $2 }' /proc/mounts | sort -r | while read -r target; do
    umount --lazy "$(printf '%b' "$target")"
  done
}

# Ends what node N runs, containers and their shims included.
stop_node() { # N
  local node=$1 container pid
  stop "node$node-kubelet"
  stop "node$node-kube-proxy"
  if running "node$node-containerd"; then
    for container in $(node_ctr "$node" tasks list --quiet); do
      node_ctr "$node" tasks delete --force "$container" >/dev/null 2>&1 || true
    done
  fi
  stop "node$node-containerd"
  for pid in $(shims "$node"); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  remove_node_network "$node"
  remove_cgroup "$(node_namespace "$node")"
}

# The processes that outlive containerd, known by their program and by its socket.
shims() { # N
  local process
  for process in /proc/[0-9]*; do
    [[ $(readlink "$process/exe" 2>/dev/null) == "$(component_dir containerd)/containerd-shim-runc-v2" ]] || continue
    tr '\0' ' ' <"$process/cmdline" | grep -qF -- "$(containerd_socket "$node") " && echo "${process#/proc/}"
  done
  return 0
}
