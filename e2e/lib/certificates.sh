# shellcheck shell=bash
# The cluster's certificates and the files that clients find it by. Sourced, never run.

pki=$state/pki

make_certificates() {
  mkdir -p "$pki"
  chmod 700 "$pki"
  printf '%s\n' '[req]' 'distinguished_name = name' '[name]' \
    '[authority]' 'basicConstraints = critical, CA:TRUE' 'keyUsage = critical, keyCertSign, cRLSign, digitalSignature' \
    >"$pki/openssl.cnf"
  make_authority ca
  make_authority front-proxy-ca
  make_certificate front-proxy front-proxy-ca /CN=front-proxy
  make_certificate apiserver ca /CN=kube-apiserver "IP:$api_address,IP:$(node_address6 1),IP:198.19.0.1,IP:127.0.0.1,\
DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  make_certificate apiserver-kubelet-client ca /O=system:masters/CN=apiserver-kubelet-client
  make_certificate admin ca /O=system:masters/CN=admin
  make_certificate controller-manager ca /CN=system:kube-controller-manager
  make_certificate scheduler ca /CN=system:kube-scheduler
  make_certificate proxy ca /CN=system:kube-proxy
  new_key "$pki/service-accounts.key"
  openssl pkey -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub"
}

new_key() { # FILE
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null
}

make_authority() { # NAME
  new_key "$pki/$1.key"
  openssl req -x509 -new -key "$pki/$1.key" -days 3650 -subj "/CN=outrigger-e2e-$1" \
    -config "$pki/openssl.cnf" -extensions authority -out "$pki/$1.crt"
}

make_certificate() { # NAME AUTHORITY SUBJECT [SUBJECT_ALTERNATIVE_NAMES]
  new_key "$pki/$1.key"
  openssl req -new -key "$pki/$1.key" -subj "$3" -config "$pki/openssl.cnf" -out "$pki/$1.csr"
  {
    echo 'keyUsage = critical, digitalSignature'
    echo 'extendedKeyUsage = serverAuth, clientAuth'
    [ -z "${4:-}" ] || echo "subjectAltName = $4"
  } >"$pki/$1.ext"
  openssl x509 -req -in "$pki/$1.csr" -days 3650 -CA "$pki/$2.crt" -CAkey "$pki/$2.key" -CAcreateserial \
    -extfile "$pki/$1.ext" -out "$pki/$1.crt" 2>/dev/null
  rm "$pki/$1.csr" "$pki/$1.ext"
}

# A kubeconfig that holds all it needs, so that it can be copied away.
write_kubeconfig() { # FILE CERTIFICATE
  local authority certificate key
  authority=$(base64 -w0 <"$pki/ca.crt")
  certificate=$(base64 -w0 <"$pki/$2.crt")
  key=$(base64 -w0 <"$pki/$2.key")
  (
    umask 077
    cat >"$1" <<END
apiVersion: v1
kind: Config
current-context: outrigger-e2e
contexts:
- name: outrigger-e2e
  context: {cluster: outrigger-e2e, user: $2}
clusters:
- name: outrigger-e2e
  cluster:
    server: https://$api_address:6443
    certificate-authority-data: $authority
users:
- name: $2
  user:
    client-certificate-data: $certificate
    client-key-data: $key
END
  )
}
