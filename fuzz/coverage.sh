#!/bin/bash
# SPDX-License-Identifier: MIT
# Which lines of the rings and of the header the corpus reaches. For the rings the core is compiled with line tracing, in
# a folder apart, as tests/coverage_core.sh does.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
work=$root/build/fuzz/coverage
parts=(cython_ext ivshmem_virtio fuzz setup.py pyproject.toml README.md LICENSES)

mkdir -p "$work"
tar -C "$root" --exclude='*.so' --exclude=core.c --exclude=__pycache__ -cf - "${parts[@]}" | tar -C "$work" -xf -
cd "$work"
IVSHMEM_VIRTIO_TRACE=1 "$python" setup.py -q build_ext --inplace
replay() {
    PYTHONPATH=$work "$python" -m coverage run --append "--rcfile=$1" "--data-file=$2.data" -m fuzz "$3" --replay
}
report() {
    "$python" -m coverage report "--rcfile=$1" "--data-file=$2.data" --fail-under=95
}
rm -f rings.data header.data
echo "== lines of the rings reached by the corpus"
replay cython_ext/coverage.ini rings rings
replay cython_ext/coverage.ini rings packed_rings
report cython_ext/coverage.ini rings
echo "== lines of the header reached by the corpus"
replay fuzz/coverage.ini header header
replay fuzz/coverage.ini header state_object
report fuzz/coverage.ini header
