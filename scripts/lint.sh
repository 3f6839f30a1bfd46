#!/usr/bin/env bash
# All linters; every one runs, and the exit status tells whether all were content.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" ANSIBLE_CONFIG="$PWD/ansible.cfg"
status=0
for command in "ruff check ." "ruff format --check ." "mypy" "yamllint --strict ." "ansible-lint --offline"; do
    echo "== $command"
    $command || status=1
done
exit $status
