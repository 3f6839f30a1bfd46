#!/bin/sh
# load_images.sh ENGINE CLUSTER IMAGE...: puts into every node what it lacks of IMAGEs; prints what it loaded.
set -eu
engine=$1 cluster=$2; shift 2
archive=$(mktemp "${TMPDIR:-/var/tmp}/istio-lab-images.XXXXXX")
trap 'rm -f "$archive"' EXIT
for node in $("$engine" ps --quiet --filter "label=io.x-k8s.kind.cluster=$cluster"); do
    held=$("$engine" exec "$node" ctr --namespace k8s.io images ls --quiet)
    missing=''
    for image in "$@"; do
        echo "$held" | grep -qxF "$image" || missing="$missing $image"
    done
    [ -n "$missing" ] || continue
    rm -f "$archive"
    # shellcheck disable=SC2086
    case $engine in
        podman) podman save --quiet --multi-image-archive --output "$archive" $missing ;;
        *) "$engine" save --output "$archive" $missing ;;
    esac
    "$engine" exec --interactive "$node" ctr --namespace k8s.io images import --digests - <"$archive" >/dev/null
    echo "loaded:$missing"
done
