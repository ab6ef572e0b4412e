# SPDX-License-Identifier: MIT
"""A stock guest and our service as two clients of QEMU's own example server."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from ivshmem_virtio.vm.guest import Guest
from ivshmem_virtio.vm.service import ServiceProcess
from tests.peers.qemu_server.build import Programs, built
from tests.peers.qemu_server.processes import QemuServer
from tests.vm.conftest import BootGuest
from tests.vm.served_guest import ALONE, VECTORS, Site, assert_works


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return built(tmp_path_factory.mktemp("qemu-programs"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.write("web", template=ALONE)
    made.socket_of("web").parent.mkdir()
    return made


@pytest.mark.newest_kernel
def test_devices_work_and_come_back(programs: Programs, site: Site, boot: BootGuest) -> None:
    """With a second back-end and, after that, with a second QEMU: both have new peer ids then."""
    path = site.socket_of("web")
    with QemuServer(programs.server, path, f"vm-{secrets.token_hex(4)}.own", size="32M", vectors=VECTORS) as server:
        guest = boot(doorbells=site.doorbells("web"))
        with attached(site, path):
            assert_works(guest, site, "web")
        with attached(site, path):
            assert_works(guest, site, "web")
            restarted(guest, boot, site)
        assert server.end() == 0


def attached(site: Site, path: Path) -> ServiceProcess:
    return ServiceProcess(["attach", str(site.config), "--socket", str(path)], site.folder, "attach")


def restarted(guest: Guest, boot: BootGuest, site: Site) -> None:
    guest.kill()
    assert_works(boot(doorbells=site.doorbells("web"), name="again"), site, "web")
