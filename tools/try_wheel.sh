#!/bin/sh
# Tries a wheel as a user has it: a fresh environment, no compiler, the quick tests of the runtime and the kernels.
#
#     tools/try_wheel.sh WHEEL [PYTHON]
set -eu
wheel=$(realpath "$1")
python=${2:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel" pytest hypothesis pytest-xdist pillow
# Not from the checkout: the tests must meet the wheel alone.
cp -r "$root/tests" "$root/examples" "$root/docs" "$root/README.md" "$root/CONTRIBUTING.md" "$root/pyproject.toml" "$work"
cd "$work"
export CC=/nonexistent CXX=/nonexistent
venv/bin/tapsdk doctor
venv/bin/python -m pytest -q -m "not slow" -n 2 --dist loadfile -p no:cacheprovider tests/kernels tests/tapsdk
