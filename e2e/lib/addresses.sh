# shellcheck shell=bash disable=SC2034
# The cluster's addresses: the benchmarking range 198.18.0.0/15 and a unique local IPv6 prefix, so
# that they meet nobody's. Sourced, never run.

pod_range=198.18.64.0/18
pod_range6=fd18:e2e:64::/56
service_range=198.19.0.0/16
service_range6=fd18:e2e:ffff::/112
dns_address=198.19.0.10
api_address=198.18.0.2

# Node N and the machine are the ends of a pair of interfaces, with four IPv4 addresses for each N.
node_address() { echo "198.18.0.$(($1 * 4 - 2))"; }        # N
node_address6() { echo "fd18:e2e:0:$1::2"; }                # N
machine_address() { echo "198.18.0.$(($1 * 4 - 3))"; }     # N
machine_address6() { echo "fd18:e2e:0:$1::1"; }             # N
node_namespace() { echo "outrigger-e2e-node$1"; }           # N
node_interface() { echo "outrigger-e2e$1"; }                # N: on the machine's side
