#!/bin/sh
# import-images.sh KEY: puts the images of the OCI layout /preload into the node's containerd. One containerd, long enough
# to import; its content store is all that is kept of it.
set -eu
echo "images of $1"
mkdir -p /tmp/run
containerd --config /dev/null --root /var/lib/containerd --state /tmp/run --address /tmp/run/c.sock >/tmp/run/log 2>&1 &
pid=$!
n=0
until ctr -a /tmp/run/c.sock version >/dev/null 2>&1; do
    n=$((n + 1))
    [ $n -lt 100 ] || { cat /tmp/run/log; exit 1; }
    sleep 0.2
done
tar -C /preload -c oci-layout index.json blobs | ctr -a /tmp/run/c.sock -n k8s.io images import --no-unpack -
kill $pid
wait $pid || true
rm -rf /tmp/run
