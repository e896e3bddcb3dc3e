# shellcheck shell=bash
# The clusters that others make: kind's, and the one that E2E_KUBECONFIG names. Sourced, never run.

kind_name=outrigger-e2e

flavour() {
  if [ -n "${E2E_KUBECONFIG:-}" ]; then
    echo given
  elif command -v kind >/dev/null && command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    echo kind
  else
    echo own
  fi
}

flavour_kubeconfig() {
  case $(flavour) in
    given) echo "$E2E_KUBECONFIG" ;;
    *) echo "$kubeconfig" ;;
  esac
}

kind_up() {
  local nodes=1 node
  need_programs
  [ "${1:-}" != --nodes ] || nodes=$2
  mkdir -p "$state"
  if ! kind_status 2>/dev/null; then
    {
      printf '%s\n' 'kind: Cluster' 'apiVersion: kind.x-k8s.io/v1alpha4' 'networking: {ipFamily: dual}' \
        'nodes:' '- role: control-plane'
      for ((node = 2; node <= nodes; node++)); do echo '- role: worker'; done
    } | kind create cluster --name "$kind_name" --kubeconfig "$kubeconfig" --config - --wait 120s
  fi
  kind_status
}

kind_down() { kind delete cluster --name "$kind_name" --kubeconfig "$kubeconfig"; }

kind_status() { kubectl --kubeconfig "$kubeconfig" get nodes -o wide >&2; }

kind_load() {
  local archive
  for archive in "$@"; do
    kind load image-archive --name "$kind_name" "$archive"
  done
}

kind_networks() {
  local node
  for node in $(kind get nodes --name "$kind_name"); do
    echo "/proc/$(docker inspect --format '{{.State.Pid}}' "$node")/ns/net"
  done
}

# The tests need both programs.
need_programs() {
  local program
  for program in kubectl helm; do
    command -v "$program" >/dev/null || die "missing: $program"
  done
}

given_up() {
  need_programs
  given_status
}
given_networks() { :; }
given_down() { say "the cluster of E2E_KUBECONFIG is not ours to remove"; }
given_status() { kubectl --kubeconfig "$E2E_KUBECONFIG" get nodes -o wide >&2; }
given_load() { say "not loaded: the cluster of E2E_KUBECONFIG fetches its images from a registry"; }
