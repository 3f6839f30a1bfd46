#!/bin/sh
# install.sh KUBECONFIG OPERATOR SECONDS FOLDER: istioctl install, and beside it, while the control plane starts, the Gateway
# API's kinds of object from FOLDER. istiod takes kinds up whenever they come.
set -eu
kubeconfig=$1 operator=$2 seconds=$3 folder=$4
sh "$(dirname "$0")/gateway_api.sh" "$kubeconfig" "$folder" &
istioctl install --kubeconfig "$kubeconfig" --filename "$operator" --skip-confirmation --readiness-timeout "${seconds}s"
wait $!
