# What the demo and the shop have in common; sourced by both, in the repository's root.

bold='' dim='' plain=''
[ ! -t 1 ] || { bold=$'\033[1m' dim=$'\033[2m' plain=$'\033[0m'; }
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
run() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; "$@"; }
need() { command -v "$1" >/dev/null || { echo "$0 needs $1: $2" >&2; exit 2; }; }

target=${CARGO_TARGET_DIR:-target}
cluster=.cluster
shop=examples/shop/policies
launcher=$target/debug/ringfence-cluster
ringfence=$target/debug/ringfence

# Whether the cluster is one that was started here, and not that of KUBECONFIG.
started=
start_cluster() { # arguments of the launcher
  [ -n "${KUBECONFIG:-}" ] && [ -z "$started" ] && return
  "$launcher" down --dir "$cluster"
  "$launcher" up --dir "$cluster" "$@" | tail -n 1
  export KUBECONFIG=$PWD/$cluster/kubeconfig
  started=yes
}

# kubectl and Helm as they are built for the cluster.
use_programs() {
  PATH=$(dirname "$("$launcher" build kubectl --print)"):$(dirname "$("$launcher" build helm --print)"):$PATH
}

# The operator's image, with what was built for development just now.
pack_operator() {
  local package; package=$(cargo pkgid --package ringfence)
  image/pack "ringfence:${package##*[#@]}" "$ringfence"
}

# Of a running service: the address of its pod, and the roots above its certificate.
address() { # namespace name
  kubectl get pods --namespace "$1" --selector "app.kubernetes.io/name=$2" --field-selector status.phase=Running \
    --output 'jsonpath={.items[0].status.podIP}'
}
root() { # namespace name
  kubectl get secret "$2-tls" --namespace "$1" --output 'go-template={{index .data "ca.crt" | base64decode}}'
}

# What was just declared takes a moment to be with everyone: the kubelet looks at mounted files about once a minute. Until then
# a customer is told to try again.
until_taken() {
  local begin=$SECONDS
  until "$@" >/dev/null || [ $((SECONDS - begin)) -gt 120 ]; do sleep 1; done
  run "$@"
}
