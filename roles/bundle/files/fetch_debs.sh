#!/bin/sh
# fetch_debs.sh FOLDER ARCHITECTURE PACKAGE...: the packages with all that they need, as a bare system lacks it, and an index for apt.
# Of this machine's release, and of its architecture when none is named.
set -eu
folder=$1 architecture=${2:-$(dpkg --print-architecture)}; shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder/partial" "$work/lists/partial"
: >"$work/status"
# With the list of a system that has nothing, so that nothing of this host's is taken as given; and with lists of its own, for apt
# keeps those of its own architecture alone.
apt() {
    apt-get -q -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture" -o "Dir::State::status=$work/status" \
        -o "Dir::State::lists=$work/lists" -o "Dir::Cache::archives=$folder" -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" \
        -o Debug::NoLocking=1 -o APT::Sandbox::User=root "$@" >/dev/null
}
apt update
apt --yes --no-install-recommends --download-only install "$@"
rm -rf "$folder/partial" "$folder/lock"
cd "$folder"
for file in *.deb; do
    dpkg-deb --field "$file"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$file")" "$(sha256sum "$file" | cut -d ' ' -f 1)"
done >Packages
