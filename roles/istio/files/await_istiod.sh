#!/usr/bin/env bash
# await_istiod.sh KUBECONFIG RESULTS SECONDS: returns as soon as istiod is available and gives pods their sidecars for good, or
# istioctl has ended (Ansible puts its outcome in the place of RESULTS, which says "finished": false until then), or after SECONDS.
set -u
kubeconfig=$1 results=$2 until=$((SECONDS + $3))
look() { kubectl --kubeconfig "$kubeconfig" --namespace istio-system wait deployment/istiod "$@" --timeout=2s >/dev/null 2>&1; }
# At its end, istioctl install takes the webhook that injects out of force and then makes another, the default tag's: a pod that comes
# in between gets no sidecar. With the tag made here, before the first pod, there is nothing in between.
tag() { istioctl tag set default --revision default --overwrite --kubeconfig "$kubeconfig" >/dev/null 2>&1; }
while [ "$SECONDS" -lt "$until" ] && grep --quiet '"finished": false' "$results"; do
    look --for=create && look --for=condition=Available && tag && exit 0
    sleep 0.2 # where the API server itself does not answer
done
exit 1
