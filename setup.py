# SPDX-License-Identifier: MIT
"""Builds the compiled core; everything else about the package stands in pyproject.toml."""

import os

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

# IVSHMEM_VIRTIO_TRACE=1 builds the core with line tracing, for the coverage report of the Cython sources.
TRACE = os.environ.get("IVSHMEM_VIRTIO_TRACE") == "1"

# Nothing the Cython compiler warns of stays in the tree, as with -Werror for C.
Options.warning_errors = True

core = Extension(
    "ivshmem_virtio.core",
    ["cython_ext/core.pyx"],
    include_dirs=["cython_ext"],
    depends=["cython_ext/shared_memory.h"],
    extra_compile_args=["-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-cast-function-type"],
    define_macros=[("CYTHON_TRACE_NOGIL", "1")] if TRACE else [],
)

setup(
    ext_modules=cythonize(
        [core],
        include_path=["cython_ext", "."],
        compiler_directives={"language_level": "3", "linetrace": TRACE, "boundscheck": False, "wraparound": False},
    )
)
