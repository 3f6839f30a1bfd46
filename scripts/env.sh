#!/usr/bin/env bash
# Prints the commands that set up a lab's PATH, kubeconfig and shell completion: eval "$(make env)".
set -euo pipefail
state="${XDG_STATE_HOME:-$HOME/.local/state}/istio-lab/${LAB:-istio-lab}"
[ -x "$state/bin/kubectl" ] || { echo "echo 'LAB: lab ${state##*/} does not exist; create it: make lab LAB=${state##*/}' >&2; false"; exit 1; }
# A half-made lab has no record yet; it will run on podman.
engine=$(sed -n 's/.*"engine": "\([a-z]*\)".*/\1/p' "$state/cluster.json" 2>/dev/null || true)
cat <<END
export PATH=$(printf %q "$state/bin"):\$PATH KUBECONFIG=$(printf %q "$state/kubeconfig") CONTAINERS_CONF=$(printf %q "$state/containers.conf") KIND_EXPERIMENTAL_PROVIDER=${engine:-podman}
if [ -n "\${BASH_VERSION:-}" ]; then source <(kubectl completion bash); source <(istioctl completion bash); source <(kind completion bash); fi
if [ -n "\${ZSH_VERSION:-}" ]; then source <(kubectl completion zsh); source <(istioctl completion zsh); source <(kind completion zsh); fi
END
