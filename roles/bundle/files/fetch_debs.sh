#!/bin/sh
# fetch_debs.sh FOLDER PACKAGE...: the packages with all that they need, as a bare system lacks it, and an index for apt.
set -eu
folder=$1; shift
mkdir -p "$folder/partial"
status=$(mktemp)
trap 'rm -f "$status"' EXIT
apt-get update -q >/dev/null
# With the list of a system that has nothing, so that nothing of this host's is taken as given.
apt-get -q -o "Dir::State::status=$status" -o "Dir::Cache::archives=$folder" -o Debug::NoLocking=1 -o APT::Sandbox::User=root \
    --yes --no-install-recommends --download-only install "$@" >/dev/null
rm -rf "$folder/partial" "$folder/lock"
cd "$folder"
for file in *.deb; do
    dpkg-deb --field "$file"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$file")" "$(sha256sum "$file" | cut -d ' ' -f 1)"
done >Packages
