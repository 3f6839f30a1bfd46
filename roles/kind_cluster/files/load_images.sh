#!/bin/sh
# load_images.sh ENGINE CLUSTER IMAGE...: puts into every node what it lacks of IMAGEs; prints what it loaded.
set -eu
engine=$1 cluster=$2; shift 2
work=$(mktemp -d "${TMPDIR:-/var/tmp}/istio-lab-images.XXXXXX")
trap 'rm -rf "$work"' EXIT
for node in $("$engine" ps --quiet --filter "label=io.x-k8s.kind.cluster=$cluster"); do
    "$engine" exec "$node" ctr --namespace k8s.io images ls --quiet >"$work/held"
    for image in "$@"; do
        ! grep -qxF "$image" "$work/held" || continue
        rm -f "$work/image.tar"
        # One at a time and, from podman, as OCI: its other formats hold no zstd layers, which registries may serve.
        case $engine in
            podman) podman save --quiet --uncompressed --format oci-archive --output "$work/image.tar" "$image" ;;
            *) "$engine" save --output "$work/image.tar" "$image" ;;
        esac
        "$engine" exec --interactive "$node" ctr --namespace k8s.io images import --digests - <"$work/image.tar" >/dev/null
        echo "loaded: $image"
    done
done
