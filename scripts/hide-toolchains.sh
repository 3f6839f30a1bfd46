#!/usr/bin/env bash
# hide-toolchains.sh FOLDER: fills FOLDER with commands that always fail, one for each toolchain that a bare Debian does not have.
# First on PATH, they expose anything that depends on the host's own Go, Java, Node, Ruby or C compiler.
set -euo pipefail
mkdir -p "$1"
for name in go gofmt java javac jar mvn node nodejs npm npx ruby gem cc c++ gcc g++ cargo rustc helm; do
    printf '#!/bin/sh\necho "%s: the lab must not use the one of the host" >&2\nexit 127\n' "$name" >"$1/$name"
    chmod 0755 "$1/$name"
done
