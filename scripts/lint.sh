#!/usr/bin/env bash
# Runs all linters, even after a failure; the exit status is 0 only if all pass.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" ANSIBLE_CONFIG="$PWD/ansible.cfg"
status=0
for command in "ruff check ." "ruff format --check ." "mypy" "yamllint --strict ." "ansible-lint --offline"; do
    echo "== $command"
    $command || status=1
done
exit $status
