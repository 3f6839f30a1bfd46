# shellcheck shell=bash
# Sourced, with $state set: gateway http|https|tcp prints where the lab's gateway is reached.
[ -s "$state/gateway.json" ] || { echo "LAB: no lab ${state##*/} is here: make lab LAB=${state##*/}; nothing was changed" >&2; exit 1; }
if [ -e "$state/forward.pid" ]; then
    PATH="$state/bin:$PATH" .venv/bin/python roles/istio/files/forward.py start "$state" "$state/kubeconfig" >/dev/null
fi
gateway() { .venv/bin/python -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$state/gateway.json" "$1"; }
