# SPDX-License-Identifier: MIT
"""Puts another build of the compiled core in the place of the package's own."""

from __future__ import annotations

import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import ivshmem_virtio

NAME = "ivshmem_virtio.core"


def load(path: Path) -> None:
    """Import the core from ``path``. Before anything of the package that uses it."""
    assert NAME not in sys.modules, "the package's own core is in use already"
    spec = spec_from_file_location(NAME, path, loader=ExtensionFileLoader(NAME, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    ivshmem_virtio.core = module  # type: ignore[attr-defined]
