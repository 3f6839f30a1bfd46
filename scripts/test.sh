#!/usr/bin/env bash
# The whole regression gate, on a lab of its own beside the user's: lint, unit tests, every molecule scenario.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" ANSIBLE_CONFIG="$PWD/ansible.cfg" MOLECULE_EPHEMERAL_DIRECTORY="$PWD/build/molecule"
export LAB_TEST_NAME="${LAB_TEST_NAME:-istio-lab-test}"
mkdir -p build
phase() { echo; echo "=== $* (after ${SECONDS} s)"; }

phase "system packages for the tests"
missing=$(for tool in chromium docker-registry; do command -v "$tool" >/dev/null || echo "$tool"; done)
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086
    apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends $missing >/dev/null
fi
# The lab brings what it needs: from here on the host's own Go, Java, Node, Ruby and C compiler refuse to work.
scripts/hide-toolchains.sh "$PWD/build/hidden-toolchains"
export PATH="$PWD/.venv/bin:$PWD/build/hidden-toolchains:$PATH"
phase "lint, and unit tests beside it"
pytest -q tests/unit >build/unit.log 2>&1 & unit=$!
status=0
scripts/lint.sh || status=$?
wait $unit || { cat build/unit.log; exit 1; }
tail -n 1 build/unit.log
[ $status = 0 ] || exit $status
phase "molecule"
# A lab of an earlier, ended run is removed first; its state may be anything.
.venv/bin/ansible-playbook -e lab_name="$LAB_TEST_NAME" playbooks/destroy_lab.yml
status=0
molecule test --all --no-command-borders || status=$?
[ $status = 0 ] || { echo "molecule failed ($status); removing its lab"; .venv/bin/ansible-playbook -e lab_name="$LAB_TEST_NAME" playbooks/destroy_lab.yml; }
phase "end, status $status"
exit $status
