#!/bin/sh
# judge.sh MANIFESTS NAMESPACE [REPORTS]: builds a lab, applies the kustomization in the folder MANIFESTS to a new namespace with
# sidecars, judges its rules, leaves the reports in the folder REPORTS, and removes the lab.
# Exit status: 0 for PASS, 1 for FAIL, 2 for anything else. LAB is the lab's name: it must be of no lab that you want to keep.
set -eu
manifests=$1 namespace=$2 reports=${3:-reports}
run=$(cd "$(dirname "$0")/../.." && pwd)/scripts/run.py
export LAB="${LAB:-ci}"
state=${XDG_STATE_HOME:-$HOME/.local/state}/istio-lab/$LAB

status=2 # unless there is a verdict
trap '"$run" destroy || echo "lab $LAB is left: make destroy LAB=$LAB" >&2; exit "$status"' EXIT
trap 'exit 2' INT TERM HUP

"$run" lab
export PATH="$state/bin:$PATH" KUBECONFIG="$state/kubeconfig"
kubectl create namespace "$namespace"
kubectl label namespace "$namespace" istio-injection=enabled
kubectl apply --namespace "$namespace" --kustomize "$manifests"
kubectl wait --namespace "$namespace" --for=condition=Available deployment --all --timeout=300s

judged=0
"$run" judge NAMESPACE="$namespace" CONFIRM="$namespace" || judged=$?
mkdir -p "$reports"
cp "$state/judged/$namespace"/verdict.* "$reports"
status=$judged
