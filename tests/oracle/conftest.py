# SPDX-License-Identifier: MIT
"""The harness, built once for a run, and the memory and doorbells of an exchange."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from ivshmem_virtio.core import Window

from .exchange_types import Exchange
from .harness_build import MODULE, build
from .kernel_source import KernelSourceUnavailable, kernel_tree

WINDOW_LENGTH = 1 << 20


@pytest.fixture(scope="session")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Exchange:
    try:
        tree = kernel_tree()
    except KernelSourceUnavailable as error:
        pytest.skip(f"no Linux ring code to compare with ({error}); a Debian 12 package mirror makes this run")
    file: Path = build(tree, tmp_path_factory.mktemp("exchange"))
    spec = importlib.util.spec_from_file_location(MODULE, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast(Exchange, module)


@pytest.fixture
def window() -> Window:
    # Unmapped with its last user, not here: the kernel's rings hold pointers into it.
    fd = os.memfd_create("ivshmem-virtio-oracle")
    os.ftruncate(fd, WINDOW_LENGTH)
    mapped = Window(fd, 0, WINDOW_LENGTH)
    os.close(fd)
    return mapped


@pytest.fixture
def bells() -> Iterator[tuple[int, int]]:
    """Eventfds of driver to device, and of device to driver."""
    pair = os.eventfd(0), os.eventfd(0)
    yield pair
    for bell in pair:
        os.close(bell)
