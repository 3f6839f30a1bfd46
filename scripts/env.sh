#!/usr/bin/env bash
# Prints what puts a lab's commands, kubeconfig and shell completion in place: eval "$(make env)".
set -euo pipefail
state="${XDG_STATE_HOME:-$HOME/.local/state}/istio-lab/${LAB:-istio-lab}"
[ -x "$state/bin/kubectl" ] || { echo "echo 'LAB: no lab ${state##*/} is here: make lab LAB=${state##*/}' >&2; false"; exit 1; }
# A lab that is half made has no record yet; podman is what it will run on then.
engine=$(sed -n 's/.*"engine": "\([a-z]*\)".*/\1/p' "$state/cluster.json" 2>/dev/null || true)
cat <<END
export PATH=$(printf %q "$state/bin"):\$PATH KUBECONFIG=$(printf %q "$state/kubeconfig") CONTAINERS_CONF=$(printf %q "$state/containers.conf") KIND_EXPERIMENTAL_PROVIDER=${engine:-podman}
if [ -n "\${BASH_VERSION:-}" ]; then source <(kubectl completion bash); source <(istioctl completion bash); source <(kind completion bash); fi
if [ -n "\${ZSH_VERSION:-}" ]; then source <(kubectl completion zsh); source <(istioctl completion zsh); source <(kind completion zsh); fi
END
