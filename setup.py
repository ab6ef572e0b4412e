# SPDX-License-Identifier: MIT
"""Builds the compiled core and the benchmarks' load; everything else about the package stands in pyproject.toml."""

import os

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

# IVSHMEM_VIRTIO_TRACE=1 builds the core with line tracing, for the coverage report of the Cython sources.
TRACE = os.environ.get("IVSHMEM_VIRTIO_TRACE") == "1"

# Nothing the Cython compiler warns of stays in the tree, as with -Werror for C.
Options.warning_errors = True

COMPILER_ARGUMENTS = ["-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-cast-function-type"]

core = Extension(
    "ivshmem_virtio.core",
    ["cython_ext/core.pyx"],
    include_dirs=["cython_ext"],
    depends=["cython_ext/shared_memory.h", "cython_ext/plane.h"],
    extra_compile_args=COMPILER_ARGUMENTS,
    define_macros=[("CYTHON_TRACE_NOGIL", "1")] if TRACE else [],
)

generator = Extension(
    "ivshmem_virtio.bench.generator",
    ["cython_ext/bench/generator.pyx"],
    include_dirs=["cython_ext", "cython_ext/bench"],
    depends=["cython_ext/shared_memory.h", "cython_ext/bench/pause.h", "ivshmem_virtio/core.pxd"],
    extra_compile_args=COMPILER_ARGUMENTS,
)

setup(
    ext_modules=cythonize(
        [core] if TRACE else [core, generator],
        include_path=["cython_ext", "."],
        compiler_directives={"language_level": "3", "linetrace": TRACE, "boundscheck": False, "wraparound": False},
    )
)
