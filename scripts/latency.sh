#!/usr/bin/env bash
# Latency of a path behind the lab's gateway, from when requests are due; takes the options of loadtests.latency.open_loop.
set -euo pipefail
cd "$(dirname "$0")/.."
state="${XDG_STATE_HOME:-$HOME/.local/state}/istio-lab/${LAB:-istio-lab}"
. scripts/gateway.sh
export PATH="$state/bin:$PATH"
path="${*: -1}"
exec .venv/bin/python -m loadtests.latency.open_loop --results "$state/results/latency" --kubeconfig "$state/kubeconfig" "${@:1:$#-2}" \
    "$(gateway http)/${path#/}"
