#!/bin/sh
# restart_injected.sh KUBECONFIG SECONDS: restarts the Deployments and StatefulSets whose pods have a sidecar, and waits for them.
set -eu
kubeconfig=$1 seconds=$2
k() { kubectl --kubeconfig "$kubeconfig" "$@"; }
for namespace in $(k get pods --all-namespaces --output \
    'jsonpath={range .items[*]}{.metadata.namespace}{" "}{.spec.initContainers[*].name}{" "}{.spec.containers[*].name}{"\n"}{end}' |
    awk '/ istio-proxy( |$)/ { print $1 }' | sort -u); do
    for workload in $(k get deployments,statefulsets --namespace "$namespace" --output name); do
        k rollout restart "$workload" --namespace "$namespace"
    done
    for workload in $(k get deployments,statefulsets --namespace "$namespace" --output name); do
        k rollout status "$workload" --namespace "$namespace" --timeout "${seconds}s"
    done
done
