#!/bin/bash
# build.sh LOG DEST MODULE STAGE=PACKAGES...: compiles programs of a Go module in stages, each into a folder of its own below DEST,
# once. With DEST empty it compiles their packages into Go's cache and makes no programs. Reads GOCACHE, GOMODCACHE, GOARCH, GO_LDFLAGS.
#
# Stages have a lock each and are taken in order: of two processes one compiles and the other waits, and that one has its stage while
# the next is compiled. The cache has a lock of its own, so that no package is compiled twice. A folder appears by a rename: it is whole or absent.
set -euo pipefail
log=$1 dest=$2 module=$3; shift 3
mkdir -p "$(dirname "$log")" "$GOCACHE"
exec >>"$log" 2>&1
cd "$module"

# The GOROOT of the user's own Go must not reach the lab's compiler; its module proxy settings may.
export CGO_ENABLED=0 GOROOT='' GOTOOLCHAIN=local GOFLAGS=-modcacherw
# What no program of the lab needs. The last three are in Istio's and Kubernetes' own builds as well.
tags=no_btrfs,no_devmapper,no_zfs,nri_no_wasm,disable_pgv,grpcnotrace,retrynotrace

build() { # [-o FOLDER/] PACKAGE...
    # Beside it run pip and image builds, each of which keeps one core busy: nice leaves that to them and takes the rest.
    # -s -w would strip debug information in the end; not making it saves a tenth of the compiler's time.
    nice go build -v -trimpath -tags "$tags" -gcflags=all=-dwarf=false -ldflags "-s -w ${GO_LDFLAGS:-}" "$@"
}

lock_cache() {
    exec 8>"$GOCACHE/lab.lock"
    flock 8
}

# shellcheck disable=SC2086,SC2048
if [ -z "$dest" ]; then
    lock_cache
    build ${*#*=}
    exit
fi

for stage in "$@"; do
    name=${stage%%=*} made=$dest/${stage%%=*}
    mkdir -p "$dest"
    exec 9>"$made.lock"
    flock 9
    [ ! -d "$made" ] || continue
    lock_cache
    rm -rf "$made.partial"
    mkdir -p "$made.partial"
    echo "compiling $name from $module"
    # All modules first, for an image takes files from one whose programs come in a later stage.
    # shellcheck disable=SC2048,SC2086
    [ "$stage" != "$1" ] || go list -deps -tags "$tags" ${*#*=} >/dev/null
    TIMEFORMAT='%0R %0U %0S' # elapsed, user and system time
    # shellcheck disable=SC2086
    { time build -o "$made.partial/" ${stage#*=} 2>&3; } 3>&2 2>"$made.partial/compile_seconds"
    # Folders of main packages that are not named after their program.
    [ ! -e "$made.partial/server" ] || mv "$made.partial/server" "$made.partial/etcd"
    [ ! -e "$made.partial/service_cmd" ] || mv "$made.partial/service_cmd" "$made.partial/ratelimit"
    mv "$made.partial" "$made"
    exec 8>&-
done
