#!/usr/bin/env bash
# Locust's own web UI for the lab, on 127.0.0.1, with a login. The password is printed and stored with the lab (0600).
# With WHERE=cluster it runs in the cluster (playbooks/run_console.yml), and its port is forwarded.
set -euo pipefail
cd "$(dirname "$0")/.."
state="${XDG_STATE_HOME:-$HOME/.local/state}/istio-lab/${LAB:-istio-lab}"
. scripts/gateway.sh
secret="$state/ui-password"
[ -s "$secret" ] || (umask 077 && .venv/bin/python -c 'import secrets; print(secrets.token_urlsafe(18))' >"$secret")
port="${UI_PORT:-8089}"
# Before the address is printed: on the first call it may have to be built.
[ "${WHERE:-local}" = cluster ] || page=$(.venv/bin/python -m scripts.console)
echo "Locust: http://127.0.0.1:$port/   user: operator   password: $(cat "$secret")"
export PATH="$state/bin:$PATH"
if [ "${WHERE:-local}" = cluster ]; then
    exec .venv/bin/python scripts/open.py --kubeconfig "$state/kubeconfig" --port "$port" console
fi
# The console has a separate account, and its process sees no other kubeconfig; scripts/run.py wrote this one.
export KUBECONFIG="$state/console-kubeconfig"
exec .venv/bin/python -m loadtests.run --locustfile loadtests/run/locustfile.py --web-host 127.0.0.1 --web-port "$port" --web-login --build-path "$page" \
    --host "$(gateway http)" --gateway-https "$(gateway https)" --gateway-tcp "$(gateway tcp)" --users 20 --spawn-rate 20 --kubeconfig "$KUBECONFIG" \
    --judge ".venv/bin/python -I scripts/run.py judge LAB=${LAB:-istio-lab}" --judged "${NAMESPACE:-}" \
    --results "$state/results" --secret-file "$secret" --entry "${ENTRY:-reviews-80-20}"
