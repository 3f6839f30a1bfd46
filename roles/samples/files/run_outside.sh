#!/bin/sh
# run_outside.sh ENGINE LAB NAME ARGUMENT...: runs a container with these arguments in the place of the lab's own of that name; one
# of somebody else that has the name is left as it is.
set -eu
engine=$1 lab=$2 name=$3
shift 3
there=$("$engine" ps --all --quiet --filter "name=^$name\$")
ours=$("$engine" ps --all --quiet --filter "name=^$name\$" --filter "label=istio-lab.lab=$lab")
if [ "$there" != "$ours" ]; then
    echo "lab_name: $lab was given, but a container $name exists in $engine that this lab did not make; accepted: another name" \
        "(LAB=name), or this one after \`$engine rm --force $name\`; the container was left as it is" >&2
    exit 1
fi
# A proxy that shares the network of a container has to go before it.
for old in $("$engine" ps --all --quiet --filter "name=^$name-proxy\$" --filter "label=istio-lab.lab=$lab") $ours; do
    "$engine" rm --force "$old" >/dev/null
done
# podman hands this machine's proxies to containers: what runs beside the cluster reaches it directly.
exec "$engine" run --detach --name "$name" --label "istio-lab.lab=$lab" --env 'NO_PROXY=*' --env 'no_proxy=*' "$@"
