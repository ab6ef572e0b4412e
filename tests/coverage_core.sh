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
rc=--rcfile=cython_ext/coverage.ini

# The tracer is Python called from threads of compiled code, and now and then it crashes there, where a core without it
# does not (tests/hostile_sanitized.sh). A file whose run was ended by a signal is run again.
reached() {
    local file=$1 status=0
    for _ in {1..10}; do
        status=0
        # Stepping through every instruction of a traced build takes for ever, and reaches no further line.
        "${coverage[@]}" run "$rc" --data-file="coverage.data.$(basename "$file")" -m pytest -q -p no:cacheprovider \
            -p no:faulthandler -k "not every_instant and not [python]" "$file" || status=$?
        [ "$status" != 5 ] || return 0  # nothing but stepping
        [ "$status" -gt 128 ] || return "$status"
        echo "== $file: ended by signal $((status - 128)) while it was traced; again"
    done
    return "$status"
}

for file in tests/unit/test_window.py tests/unit/test_split_*.py tests/unit/test_packed_*.py \
    tests/unit/test_plane_worker.py tests/unit/test_blk_requests.py tests/unit/test_blk_uring.py \
    tests/unit/test_transport_packed.py tests/unit/test_transport_resume.py tests/unit/test_transport_standin.py; do
    reached "$file"
done
"${coverage[@]}" combine -q "$rc" --data-file=coverage.data
"${coverage[@]}" report "$rc" --data-file=coverage.data --fail-under=95
