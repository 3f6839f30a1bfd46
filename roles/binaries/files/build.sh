#!/bin/sh
# Compiles the lab's Go programs, each module's into a folder of its own below DEST, once: build.sh LOG DEST MODULE...;
# reads GO_TAGS, GO_LDFLAGS, GO_PACKAGES. A lock for each module keeps two checkouts from compiling the same, and lets
# somebody wait for one module while the next is compiled; a folder appears by a rename, so it is whole or absent.
set -eu
log=$1 dest=$2; shift 2
exec >>"$log" 2>&1
mkdir -p "$dest"
for module in "$@"; do
    made=$dest/$(basename "$module") partial=$dest/$(basename "$module").partial
    exec 9>"$made.lock"
    flock 9
    [ ! -d "$made" ] || continue
    rm -rf "$partial"
    mkdir -p "$partial"
    started=$(date +%s)
    cd "$module"
    echo "compiling $(basename "$module") from $module"
    # shellcheck disable=SC2086
    go build -v -trimpath -tags "$GO_TAGS" -ldflags "-s -w $GO_LDFLAGS" -o "$partial/" $GO_PACKAGES
    [ ! -e "$partial/server" ] || mv "$partial/server" "$partial/etcd"
    echo $(($(date +%s) - started)) >"$partial/compile_seconds"
    mv "$partial" "$made"
done
