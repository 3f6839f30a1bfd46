# shellcheck shell=bash
# Sourced, with $state set: gateway http|https|tcp prints the address of the lab's gateway.
[ -s "$state/gateway.json" ] || { echo "LAB: lab ${state##*/} does not exist; create it: make lab LAB=${state##*/}; nothing was changed" >&2; exit 1; }
if [ -e "$state/forward.pid" ]; then
    PATH="$state/bin:$PATH" .venv/bin/python scripts/forward.py start "$state" "$state/kubeconfig" >/dev/null
fi
gateway() { .venv/bin/python -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$state/gateway.json" "$1"; }
