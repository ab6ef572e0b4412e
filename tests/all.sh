#!/bin/bash
# SPDX-License-Identifier: MIT
# Every test that is not a long form, and which lines of the package and of its compiled core they reach. Arguments go to
# pytest. A failure in one part does not keep the others from running.
set -uo pipefail

cd "$(dirname "$0")/.."
coverage=.venv/bin/coverage
# These compute and never look at a clock, so they make do with what processors the guests leave over. How long one of
# them takes then says nothing.
patient=(tests/property tests/oracle tests/fuzz tests/model tests/unit/test_*_resume*.py)
# Back-ends may write where coverage data goes.
export IVSHMEM_VIRTIO_WRITABLE=$PWD
failed=0

rm -f .coverage .coverage.*
echo "== tests without guests"
"$coverage" run -m pytest --numprocesses=auto --dist=loadfile --ignore=tests/vm "${patient[@]/#/--ignore=}" "$@" || failed=1

# Guests are booted one at a time, because their tests are about seconds.
echo "== tests in guests; beside them, with whatever time is left over: ${patient[*]}"
mkdir -p build
(chrt --idle 0 "$coverage" run -m pytest --timeout=1800 "${patient[@]}" "$@" && chrt --idle 0 tests/coverage_core.sh) >build/patient.log 2>&1 &
"$coverage" run -m pytest tests/vm "$@" || failed=1

echo "== ${patient[*]}, and the coverage of the compiled core"
wait $! || failed=1
cat build/patient.log
if [ "$failed" = 1 ]; then
    echo "== some tests failed, see above" >&2
    exit 1
fi
"$coverage" combine -q
exec "$coverage" report --fail-under=90
