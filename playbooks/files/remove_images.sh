#!/bin/sh
# remove_images.sh ENGINE: removes the images that labs have built. One that a container uses, of another lab or of somebody else, is
# kept and named: to force it would end the container.
set -eu
engine=$1
names() {
    for which in label=istio-lab.key reference=localhost/istio-lab/base; do
        "$engine" image ls --filter "$which" --format '{{.Repository}}:{{.Tag}} {{.ID}}'
    done | awk '{ print $1 ~ /<none>/ ? $2 : $1 }' | sort -u
}
# By names, for an image with several is not removed by its id; what is left without a name may be built on by another, so once more.
for _ in first second; do
    for name in $(names); do
        "$engine" rmi "$name" 2>/dev/null || true
    done
done
names | sed 's/^/kept, for a container uses it: /' >&2
