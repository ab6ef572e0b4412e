#!/bin/bash
# SPDX-License-Identifier: MIT
# Which lines of the compiled core its own tests reach. Tracing makes the core slow, so it is built in a folder apart.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
work=$root/build/coverage-core
parts=(cython_ext ivshmem_virtio tests setup.py pyproject.toml README.md LICENSES)

echo "== line coverage of the compiled core"
rm -rf "$work"
mkdir -p "$work"
tar -C "$root" --exclude='*.so' --exclude=core.c --exclude=__pycache__ -cf - "${parts[@]}" | tar -C "$work" -xf -
cd "$work"
IVSHMEM_VIRTIO_TRACE=1 "$python" setup.py -q build_ext --inplace
coverage=("$python" -m coverage)
settings=(--rcfile=cython_ext/coverage.ini --data-file=coverage.data)
# Stepping through every instruction of a traced build takes for ever, and reaches no further line.
"${coverage[@]}" run "${settings[@]}" -m pytest -q -p no:cacheprovider \
    -k "not every_instant and not [python]" tests/unit/test_window.py tests/unit/test_split_*.py \
    tests/unit/test_packed_*.py tests/unit/test_plane_worker.py tests/unit/test_blk_requests.py \
    tests/unit/test_blk_uring.py tests/unit/test_transport_packed.py tests/unit/test_transport_standin.py
"${coverage[@]}" report "${settings[@]}" --fail-under=95
