#!/bin/bash
# join_mesh.sh ENGINE LAB NAME KUBECONFIG NAMESPACE GROUP FOLDER IMAGE: runs Istio's proxy beside the container NAME, which stands for a
# virtual machine, and so makes it a member of the WorkloadGroup; waits until istiod calls it healthy. Prints what it has started.
set -euo pipefail
engine=$1 lab=$2 name=$3 kubeconfig=$4 namespace=$5 group=$6 folder=$7 image=$8
seconds=90

ask() { kubectl --kubeconfig "$kubeconfig" --namespace "$namespace" --request-timeout=30s get "$@"; }
look() { "$engine" inspect --format "$1" "$name"; }
# What a command that failed has said last.
give_up() { tail -n 1 "$folder/log" >&2; exit 1; }

# istiod gives every namespace the root certificate, a moment after the namespace was made.
for _ in $(seq $seconds); do
    root=$(ask configmap istio-ca-root-cert --ignore-not-found --output 'jsonpath={.data.root-cert\.pem}')
    [ -z "$root" ] || break
    sleep 1
done
istiod=$(ask service istiod --namespace istio-system --output 'jsonpath={.spec.clusterIP}')
# The networks of pods, each with the address of its node.
routes=$(ask nodes --output 'jsonpath={range .items[*]}{.spec.podCIDR} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}')
read -r _ node <<<"$routes"
spec=$(ask workloadgroup "$group" --output 'jsonpath={.spec}')
address=$(look '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}')
key=$(printf '%s\n' "$(look '{{.Id}}')" "$image" "$root" "$istiod" "$routes" "$spec" | cat - "$0" | sha256sum | cut -c 1-16)

if [ -z "$("$engine" ps --quiet --filter "name=^$name-proxy\$" --filter "label=istio-lab.lab=$lab" --filter "label=istio-lab.key=$key")" ]; then
    rm -rf "$folder"
    mkdir -p -m 0700 "$folder"
    istioctl --kubeconfig "$kubeconfig" experimental workload entry configure --namespace "$namespace" --name "$group" --output "$folder" \
        --autoregister --ingressIP "$istiod" --tokenDuration 600 >"$folder/log" 2>&1 || give_up
    echo "127.0.0.1 localhost" >>"$folder/hosts"
    # The proxy keeps its certificates here, by which it goes on once the token has expired.
    mkdir "$folder/certs"
    cp "$folder/root-cert.pem" "$folder/certs/"
    chown -R 1337:1337 "$folder" # the proxy's user

    shared=(--pull never --network "container:$name" --volume "$folder:/etc/istio-lab:ro" --entrypoint sh "$image" -ec)
    # Pods are reached through their nodes. What enters and leaves goes through the proxy; by IPv6, DNS requests would not. A host
    # without IPv6 has no such addresses to remove.
    "$engine" run --rm --user 0 --cap-add NET_ADMIN --cap-add NET_RAW "${shared[@]}" '
        while read -r pods node; do ip route replace "$pods" via "$node"; done <<END
'"$routes"'
END
        ip route replace '"$istiod via $node"'
        ip -6 address flush dev eth0 || true
        set -a
        . /etc/istio-lab/cluster.env
        exec pilot-agent istio-iptables' >>"$folder/log" 2>&1 || give_up
    sh "$(dirname "$0")/run_outside.sh" "$engine" "$lab" "$name-proxy" --label "istio-lab.key=$key" --user 1337:1337 --cap-drop all \
        --stop-timeout 0 --volume "$folder/certs:/etc/certs" --volume "$folder/hosts:/etc/hosts:ro" \
        --volume "$folder/mesh.yaml:/etc/istio/config/mesh:ro" --volume "$folder/istio-token:/run/secrets/tokens/istio-token:ro" \
        --tmpfs /etc/istio/proxy:mode=1777 --tmpfs /run/secrets/workload-spiffe-uds:mode=1777 --tmpfs /var/lib/istio/data:mode=1777 \
        --env "INSTANCE_IP=$address" --env "POD_NAME=$name" --env PROV_CERT=/etc/certs --env OUTPUT_CERTS=/etc/certs "${shared[@]}" '
        set -a
        . /etc/istio-lab/cluster.env
        exec pilot-agent proxy' >>"$folder/log" 2>&1 || give_up
    echo "started: $name-proxy"
fi

# istiod may still know the machine by an earlier proxy, or at an earlier address: this proxy has to be ready, and the only member.
# No member yet, and so no line for grep, is no error until the time is up.
if "$engine" exec "$name-proxy" pilot-agent wait --timeoutSeconds $seconds >>"$folder/log" 2>&1; then
    for _ in $(seq $seconds); do
        known=$(ask workloadentries --output 'jsonpath={range .items[*]}{.metadata.name} {.metadata.annotations.istio\.io/disconnectedAt}'\
'{.status.conditions[?(@.type=="Healthy")].status}{"\n"}{end}' | grep "^$group-" || true)
        [ "$known" != "$group-$address True" ] || exit 0
        sleep 1
    done
fi
echo "$name has not joined the mesh as a member of WorkloadGroup $group within $seconds s; its proxy says:" \
    "$("$engine" logs --tail 1 "$name-proxy" 2>&1)" >&2
exit 1
