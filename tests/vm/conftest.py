# SPDX-License-Identifier: MIT
"""Guests for tests: each test that asks for ``kernel`` runs once on each stock kernel.

Kernel, module and initramfs are made once in a session. A test that uses ``boot`` gets a guest that is checked for a
clean kernel log when the test has passed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from ivshmem_virtio.vm.accelerator import QEMU, Choice, choose
from ivshmem_virtio.vm.guest import CONSOLE, Guest
from ivshmem_virtio.vm.initrd import build_initrd
from ivshmem_virtio.vm.kernel import SERIES, Kernel
from ivshmem_virtio.vm.kernel import kernel as fetch_kernel
from ivshmem_virtio.vm.kernel_log import trouble
from ivshmem_virtio.vm.module_build import build_module
from ivshmem_virtio.vm.qemu import Boot, Doorbell, qemu_arguments
from tests.kasan.debug_kernel import SERIES as DEBUG_SERIES
from tests.kasan.debug_kernel import debug_kernel
from tests.vm.served_guest import Site


class BootGuest(Protocol):
    """Starts a guest and waits until it takes commands (``wait``); it is ended when the test ends."""

    def __call__(
        self,
        *,
        doorbells: Sequence[Doorbell] = (),
        initrd: Path | None = None,
        append: str = "",
        extra: Sequence[str] = (),
        name: str = "guest",
        memory_mib: int = 512,
        cpus: int = 1,
        wait: bool = True,
        clean_log: bool = True,
    ) -> Guest: ...


@pytest.fixture(scope="session")
def accelerator() -> Choice:
    """KVM where a probe guest runs under it, else TCG."""
    if shutil.which(QEMU) is None:
        pytest.skip("no QEMU: 'apt-get install qemu-system-x86' would run this")
    return choose("auto")


RAN = pytest.StashKey[list[str]]()


KERNELS = os.environ.get("IVSHMEM_KERNELS", ",".join(SERIES)).split(",")
"""Which kernels tests run on; ``make test-kasan`` names the one that checks itself."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to the long forms what ``newest_kernel`` says."""
    for item in (item for item in items if isinstance(item, pytest.Function)):
        once = item.get_closest_marker("newest_kernel") is not None
        # Not every test of a marked file boots a guest.
        kernel = item.callspec.params.get("kernel") if hasattr(item, "callspec") else None
        if once and kernel not in (None, KERNELS[-1]):
            item.add_marker(pytest.mark.soak)


@pytest.fixture(scope="session", params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Each kernel in turn."""
    series: str = request.param
    found = debug_kernel() if series == DEBUG_SERIES else fetch_kernel(series)
    request.config.stash.setdefault(RAN, []).append(f"Linux {found.release} (Debian {found.version})")
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which kernels and which QEMU the tests ran."""
    ran = config.stash.get(RAN, [])
    if ran:
        choice = choose("auto")
        version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
        terminalreporter.write_line(f"guests: {', '.join(dict.fromkeys(ran))}")
        terminalreporter.write_line(f"in: {version}, {choice.accelerator} ({choice.reason})")


@pytest.fixture(scope="session")
def module(kernel: Kernel) -> Path:
    """The guest module, compiled for ``kernel``."""
    return build_module(kernel)


@pytest.fixture(scope="session")
def plain_initrd(kernel: Kernel) -> Path:
    """An initramfs without the guest module."""
    return build_initrd(kernel)


@pytest.fixture(scope="session")
def initrd(kernel: Kernel, module: Path) -> Path:
    """The initramfs of a guest: the module is in it, and loaded."""
    return build_initrd(kernel, module)


def assert_clean(guest: Guest) -> None:
    """Fail with the lines by which the guest's kernel says that something is broken."""
    log = guest.kernel_log.read_text("utf-8", "replace")
    found = trouble(log)
    if found:
        # A trace says little without what stands around it.
        start = max(0, log.index(found[0]) - 500)
        pytest.fail(
            f"kernel log of {guest.name}: {found[0]} ({len(found)} such lines)\n\n{log[start : start + 3000]}",
            pytrace=False,
        )


@pytest.fixture
def boot(kernel: Kernel, accelerator: Choice, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BootGuest]:
    """Factory of guests with ``kernel``. The initramfs is ``initrd`` unless another is given."""
    guests: list[tuple[Guest, bool]] = []

    def start(
        *,
        doorbells: Sequence[Doorbell] = (),
        initrd: Path | None = None,
        append: str = "",
        extra: Sequence[str] = (),
        name: str = "guest",
        memory_mib: int = 512,
        cpus: int = 1,
        wait: bool = True,
        clean_log: bool = True,
    ) -> Guest:
        image: Path = initrd or request.getfixturevalue("initrd")
        arguments = qemu_arguments(
            doorbells=doorbells,
            accelerator=accelerator.accelerator,
            boot=Boot(kernel.image, image, f"{CONSOLE} {append}".strip()),
            memory_mib=memory_mib,
            cpus=cpus,
            name=name,
            extra=extra,
        )
        guest = Guest(arguments, tmp_path, name)
        guests.append((guest, clean_log))
        if wait:
            guest.wait_ready()
        return guest

    yield start
    for guest, _ in guests:
        guest.stop()
    for guest, clean_log in guests:
        if clean_log:
            assert_clean(guest)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A service for the guest "web"; a test that wants another has a ``site`` of its own."""
    made = Site(tmp_path)
    made.write("web")
    return made
