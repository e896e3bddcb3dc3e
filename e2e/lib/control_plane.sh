# shellcheck shell=bash
# etcd, the API server, the controller manager and the scheduler, in the network of node 1.
# Sourced, never run.

# Talks to this cluster, whatever KUBECONFIG says.
cluster_kubectl() { "$(component_dir kubernetes)/kubectl" --kubeconfig "$kubeconfig" "$@"; }

api_ready() { cluster_kubectl get --raw /readyz; }

start_control_plane() {
  local programs
  programs=$(component_dir kubernetes)
  make_certificates
  write_kubeconfig "$kubeconfig" admin
  write_kubeconfig "$state/controller-manager.kubeconfig" controller-manager
  write_kubeconfig "$state/scheduler.kubeconfig" scheduler
  write_kubeconfig "$state/proxy.kubeconfig" proxy

  start etcd 1 "$(component_dir etcd)/etcd" --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn
  start kube-apiserver 1 "$programs/kube-apiserver" \
    --etcd-servers http://127.0.0.1:2379 \
    --advertise-address "$api_address" \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
    --client-ca-file "$pki/ca.crt" \
    --kubelet-certificate-authority "$pki/ca.crt" \
    --kubelet-client-certificate "$pki/apiserver-kubelet-client.crt" \
    --kubelet-client-key "$pki/apiserver-kubelet-client.key" \
    --kubelet-preferred-address-types InternalIP \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$pki/service-accounts.pub" \
    --service-account-signing-key-file "$pki/service-accounts.key" \
    --service-cluster-ip-range "$service_range,$service_range6" \
    --requestheader-client-ca-file "$pki/front-proxy-ca.crt" \
    --requestheader-allowed-names front-proxy \
    --requestheader-username-headers X-Remote-User \
    --requestheader-group-headers X-Remote-Group \
    --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$pki/front-proxy.crt" --proxy-client-key-file "$pki/front-proxy.key" \
    --authorization-mode Node,RBAC \
    --enable-admission-plugins NodeRestriction \
    --allow-privileged=true
  wait_for_server kube-apiserver 60 api_ready
  start kube-controller-manager 1 "$programs/kube-controller-manager" \
    --kubeconfig "$state/controller-manager.kubeconfig" \
    --use-service-account-credentials \
    --root-ca-file "$pki/ca.crt" \
    --service-account-private-key-file "$pki/service-accounts.key" \
    --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
    --allocate-node-cidrs \
    --cluster-cidr "$pod_range,$pod_range6" \
    --node-cidr-mask-size-ipv4 24 --node-cidr-mask-size-ipv6 64 \
    --service-cluster-ip-range "$service_range,$service_range6"
  start kube-scheduler 1 "$programs/kube-scheduler" --kubeconfig "$state/scheduler.kubeconfig"
}
