#!/usr/bin/env bash
# bootstrap.sh LOCK: makes .venv if it is not there and installs the hash-locked packages of LOCK into it.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "istio-lab: $*" >&2; exit 1; }

python=$(command -v python3) || fail "python3: not on PATH; install it: apt-get install python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "python3: $("$python" -V) was found; accepted: 3.11 or newer"
if [ ! -x .venv/bin/python ]; then
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        [ "$(id -u)" = 0 ] || fail "python3-venv: not installed; run as root, or: apt-get install python3-venv"
        echo "installing python3-venv" && apt-get update -q >/dev/null && apt-get install -y -q python3-venv >/dev/null
    fi
    # Built beside and renamed would break its scripts' paths; so a half-made one has no python that can import pip.
    "$python" -m venv .venv
fi
.venv/bin/python -c 'import pip' 2>/dev/null || { rm -rf .venv && "$python" -m venv .venv; }
echo "installing $1 into .venv"
.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement "$1" ||
    fail "the packages of $1 could not be installed; is the Python package registry reachable?"
