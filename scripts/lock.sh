#!/usr/bin/env bash
# Rewrites the hash locks from requirements*.in; they contain no registry names.
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
