#!/bin/sh
# gateway_api.sh KUBECONFIG FOLDER: gives the cluster the Gateway API's kinds of object, with a label that tells who brought
# them; where somebody else has, theirs stay as they are.
set -eu
kubeconfig=$1 folder=$2
k() { kubectl --kubeconfig "$kubeconfig" "$@"; }
if k get customresourcedefinitions --selector '!istio-lab/part' --output name | grep --quiet '/gateways\.gateway\.networking\.k8s\.io$'; then
    echo "kept: the cluster has the Gateway API already"
    exit
fi
# JSON, because in YAML the objects could not be separated.
k label --local --filename "$folder" --output json istio-lab/part=gateway-api |
    k apply --server-side --force-conflicts --filename -
k wait customresourcedefinitions --selector istio-lab/part=gateway-api --for=condition=Established --timeout=60s
