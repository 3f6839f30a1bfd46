#!/usr/bin/env bash
# bare-path.sh FOLDER: fills FOLDER with links to this host's commands, less the toolchains that a user's bare Debian does
# not have, and prints a PATH of that folder alone. The lab must bring what it needs.
set -euo pipefail
folder=$1
rm -rf "$folder"
mkdir -p "$folder"
IFS=: read -ra places <<<"$PATH"
for place in "${places[@]}"; do
    for command in "$place"/*; do
        name=${command##*/}
        case $name in
            go | gofmt | java | javac | jar | mvn | node | nodejs | npm | npx | ruby | gem) continue ;;
            cc | c++ | gcc* | g++* | x86_64-linux-gnu-gcc* | cargo | rustc | kubectl | helm | istioctl | kind) continue ;;
        esac
        if [ -x "$command" ] && [ ! -e "$folder/$name" ]; then ln -s "$command" "$folder/$name"; fi
    done
done
echo "$folder"
