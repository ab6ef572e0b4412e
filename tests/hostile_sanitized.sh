#!/bin/bash
# SPDX-License-Identifier: MIT
# Hostile guests against a service whose compiled core has address and undefined-behaviour sanitizers. They make it slow,
# so it is built in a folder apart. Arguments go to pytest.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
work=$root/build/hostile
parts=(cython_ext ivshmem_virtio tests setup.py pyproject.toml README.md LICENSES)
sanitize="-fsanitize=address,undefined -fno-sanitize-recover=undefined"

echo "== compiled core with sanitizers"
rm -rf "$work"
mkdir -p "$work"
tar -C "$root" --exclude='*.so' --exclude=core.c --exclude=__pycache__ -cf - "${parts[@]}" | tar -C "$work" -xf -
cd "$work"
CFLAGS="-O1 -g -fno-omit-frame-pointer $sanitize -Wno-maybe-uninitialized" LDFLAGS="$sanitize" \
    "$python" setup.py -q build_ext --inplace

echo "== hostile guests"
# Python itself is not built with them, so it neither loads them nor frees everything at its end.
preload="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
exec env LD_PRELOAD="$preload" PYTHONPATH="$work" \
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:quarantine_size_mb=16 UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1 \
    "$python" -m pytest -p no:cacheprovider "$@" tests/hostile
