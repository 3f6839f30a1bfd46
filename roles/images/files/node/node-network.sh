#!/bin/sh
# The pod network of one node: the CNI configuration with the node's own podCIDR, a route to every other node's, and
# masquerading for traffic that leaves the pod network. Runs again and again, for nodes come, go and change address.
set -eu
: "${NODE_NAME:?}" "${POD_SUBNET:?}"

write_conflist() {
    jq -n --arg subnet "$1" '{cniVersion: "0.3.1", name: "lab", plugins: [
      {type: "ptp", ipMasq: false, mtu: 1500,
       ipam: {type: "host-local", dataDir: "/run/cni-ipam-state", routes: [{dst: "0.0.0.0/0"}], ranges: [[{subnet: $subnet}]]}},
      {type: "portmap", capabilities: {portMappings: true}}]}' >/etc/cni/net.d/.10-lab.partial
    # A rename, so that the kubelet never reads half a file.
    mv /etc/cni/net.d/.10-lab.partial /etc/cni/net.d/10-lab.conflist
}

iptables -w -t nat -N LAB-MASQUERADE 2>/dev/null || iptables -w -t nat -F LAB-MASQUERADE
iptables -w -t nat -A LAB-MASQUERADE -d "$POD_SUBNET" -j RETURN
iptables -w -t nat -A LAB-MASQUERADE -j MASQUERADE
iptables -w -t nat -C POSTROUTING -s "$POD_SUBNET" -j LAB-MASQUERADE 2>/dev/null ||
    iptables -w -t nat -A POSTROUTING -s "$POD_SUBNET" -j LAB-MASQUERADE

written=''
while :; do
    nodes=$(kubectl get nodes -o json) || { sleep 2; continue; }
    own=$(echo "$nodes" | jq -r --arg n "$NODE_NAME" '.items[] | select(.metadata.name == $n) | .spec.podCIDR // ""')
    if [ -n "$own" ] && [ "$own" != "$written" ]; then
        write_conflist "$own"
        written=$own
        echo "pods of this node take their addresses from $own"
    fi
    echo "$nodes" | jq -r --arg n "$NODE_NAME" '.items[] | select(.metadata.name != $n and .spec.podCIDR)
      | "\(.spec.podCIDR) \(.status.addresses[] | select(.type == "InternalIP") | .address)"' |
    while read -r cidr via; do
        ip route replace "$cidr" via "$via"
    done
    sleep 5
done
