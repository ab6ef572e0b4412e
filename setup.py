# SPDX-License-Identifier: MIT
"""Builds the compiled core and the benchmarks' load; everything else about the package stands in pyproject.toml."""

import os
import subprocess
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

# IVSHMEM_VIRTIO_TRACE=1 builds the core with line tracing, for the coverage report of the Cython sources.
TRACE = os.environ.get("IVSHMEM_VIRTIO_TRACE") == "1"

# Nothing the Cython compiler warns of stays in the tree, as with -Werror for C.
Options.warning_errors = True

COMPILER_ARGUMENTS = ["-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-cast-function-type"]

LIBURING = "-l:liburing.a"
LIBURING_TRIAL = """
#include <liburing.h>
int trial(struct io_uring *ring, struct io_uring_params *parameters)
{
    return io_uring_queue_init_params(1, ring, parameters) || io_uring_register_restrictions(ring, 0, 0) ||
           io_uring_enable_rings(ring);
}
"""


def has_liburing() -> bool:
    """Whether its archive can become part of a module, which then needs no library where it runs."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "trial.c")
        source.write_text(LIBURING_TRIAL)
        command = [*os.environ.get("CC", "cc").split(), "-shared", "-fPIC", "-o", f"{folder}/trial.so", str(source)]
        command += [*os.environ.get("CFLAGS", "").split(), LIBURING, "-Wl,-z,defs"]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


# Optional: without it, disks do one request after the other (docs/operations.md, aio).
URING = has_liburing()

core = Extension(
    "ivshmem_virtio.core",
    ["cython_ext/core.pyx"],
    include_dirs=["cython_ext"],
    depends=["cython_ext/shared_memory.h", "cython_ext/plane.h", "cython_ext/uring.h"],
    extra_compile_args=COMPILER_ARGUMENTS,
    extra_link_args=[LIBURING, "-Wl,--exclude-libs,ALL"] if URING else [],
    define_macros=[("CYTHON_TRACE_NOGIL", "1")] * TRACE + [("IV_HAVE_URING", "1")] * URING,
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
