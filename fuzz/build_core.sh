#!/bin/bash
# SPDX-License-Identifier: MIT
# The compiled core once more, with address and undefined-behaviour sanitizers and with counters for the fuzzer.
# The generated C is the very file the package is built from. Extra arguments go to the compiler.
set -euo pipefail

cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
cc=${CLANG:-clang-14}
out=${OUT:-build/fuzz/core.so}
mkdir -p "$(dirname "$out")"
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
"$cc" -c -fPIC -O1 -g -fno-omit-frame-pointer -Icython_ext -I"$include" \
    -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined "$@" cython_ext/core.c -o "$out.o"
# What the sanitizers call is in the library that the fuzzer preloads (fuzz/process.py).
"$cc" -shared "$out.o" -o "$out.new"
mv "$out.new" "$out"
rm "$out.o"
