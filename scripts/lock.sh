#!/usr/bin/env bash
# Writes the hash locks anew from requirements*.in; no registry's name gets into them.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools/venv"
"$tools/venv/bin/pip" install --quiet pip-tools
for name in requirements requirements-load requirements-bundle requirements-dev requirements-docs; do
    "$tools/venv/bin/pip-compile" --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links \
        --output-file "$name.txt" "$name.in"
done
