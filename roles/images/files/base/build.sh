#!/bin/sh
# build.sh IMAGE RELEASE [ARCHITECTURE]: makes IMAGE from Debian's packages. The mirror is the one that the host's apt is set to.
set -eu
image=$1 release=$2 architecture=${3:-$(dpkg --print-architecture)}
. /etc/os-release
mirror=$(apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v c="$VERSION_CODENAME" '$1 == c && $2 == "main" {print $3; exit}')
[ -n "$mirror" ] || { echo "apt is not set to a Debian mirror for $VERSION_CODENAME main"; exit 1; }
tree=$(mktemp -d "${TMPDIR:-/var/tmp}/istio-lab-base.XXXXXX")
trap 'rm -rf "$tree"' EXIT
debootstrap --arch="$architecture" --variant=minbase --include=ca-certificates "$release" "$tree/root" "$mirror"
rm -rf "$tree/root/var/cache/apt/archives/"*.deb "$tree/root/var/lib/apt/lists/"*
tar -C "$tree/root" --numeric-owner --exclude=./dev/* -cf "$tree/root.tar" .
# podman reads a tar file here, not a pipe; it shows the image only when it is whole.
podman import --arch "$architecture" "$tree/root.tar" "$image"
