#!/bin/sh
# Compiles the lab's Go programs into DEST, once: build.sh LOG DEST MODULE...; reads GO_TAGS, GO_LDFLAGS, GO_PACKAGES.
# A lock keeps two checkouts from compiling the same key; DEST appears by a rename, so it is whole or absent.
set -eu
log=$1 dest=$2; shift 2
exec >>"$log" 2>&1
mkdir -p "$(dirname "$dest")"
exec 9>"$dest.lock"
flock 9
[ ! -d "$dest" ] || exit 0
partial=$dest.partial
rm -rf "$partial"
mkdir -p "$partial"
started=$(date +%s)
for module in "$@"; do
    cd "$module"
    echo "compiling $(basename "$module") from $module"
    # shellcheck disable=SC2086
    go build -v -trimpath -tags "$GO_TAGS" -ldflags "-s -w $GO_LDFLAGS" -o "$partial/" $GO_PACKAGES
done
[ ! -e "$partial/server" ] || mv "$partial/server" "$partial/etcd"
echo $(($(date +%s) - started)) >"$partial/compile_seconds"
mv "$partial" "$dest"
