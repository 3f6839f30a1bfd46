#!/bin/sh
# leftovers.sh KUBECONFIG: names everything of Istio that the cluster has; prints nothing when there is nothing.
set -eu
get() { kubectl --kubeconfig "$kubeconfig" get --ignore-not-found "$@"; }
kubeconfig=$1
get namespace istio-system --output name
get namespace --selector istio-injection --output name
get customresourcedefinitions --output name | grep 'istio\.io$' || true
get customresourcedefinitions,validatingadmissionpolicies,validatingadmissionpolicybindings --selector istio-lab/part --output name
get ingressclass istio --output name
for put in istio-ca-root-cert istio-ca-crl; do
    get configmaps --all-namespaces --field-selector "metadata.name=$put" --output name
done
get mutatingwebhookconfigurations,validatingwebhookconfigurations --output name | grep istio || true
# Those of load from within the cluster are the lab's own: istio-lab-load.
get clusterroles,clusterrolebindings --output name | grep istio | grep -v '/istio-lab-' || true
get pods --all-namespaces --output \
    'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{" "}{.spec.initContainers[*].name}{" "}{.spec.containers[*].name}{"\n"}{end}' |
    awk '/ istio-proxy( |$)/ && !/^istio-system/ { print "pod/" $1 }'
