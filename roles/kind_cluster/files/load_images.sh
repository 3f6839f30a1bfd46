#!/bin/bash
# load_images.sh ENGINE CLUSTER IMAGE...: puts into every node what it lacks of IMAGEs; prints what it loaded. An absolute path is an
# archive of images, as podman save and docker save write them.
set -euo pipefail
engine=$1 cluster=$2; shift 2
work=$(mktemp -d "${TMPDIR:-/var/tmp}/istio-lab-images.XXXXXX")
trap 'rm -rf "$work"' EXIT

# IMAGE... as a tar archive; what they have in common is there once.
archive() {
    case $engine in
        podman)
            # Its archives of more than one image hold no zstd layers, which registries may serve; an OCI layout does.
            rm -rf "$work/layout"
            for image in "$@"; do
                podman save --quiet --uncompressed --format oci-dir --output "$work/layout" "$image"
            done
            tar --create --directory "$work/layout" .
            ;;
        *) "$engine" save "$@" ;;
    esac
}

for node in $("$engine" ps --quiet --filter "label=io.x-k8s.kind.cluster=$cluster"); do
    images() { "$engine" exec "$node" ctr --namespace k8s.io images "$@"; }
    images ls --quiet >"$work/held"
    lacking=()
    for image in "$@"; do
        if [[ $image == /* ]]; then
            images ls | cut -d ' ' -f 1-3 >"$work/before"
            "$engine" exec --interactive "$node" ctr --namespace k8s.io images import --digests - <"$image" >/dev/null
            images ls | cut -d ' ' -f 1-3 | cmp --silent "$work/before" - || printf 'loaded: %s\n' "$image"
            continue
        fi
        grep -qxF "$image" "$work/held" || lacking+=("$image")
    done
    [ ${#lacking[@]} -gt 0 ] || continue
    archive "${lacking[@]}" | "$engine" exec --interactive "$node" ctr --namespace k8s.io images import --digests - >/dev/null
    printf 'loaded: %s\n' "${lacking[@]}"
done
