# SPDX-License-Identifier: MIT
"""The image of a disk goes away under a guest: programs come free with errors, drivers can go, and it goes on."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from ivshmem_virtio.vm.kernel_log import trouble
from ivshmem_virtio.vm.service import ServiceProcess
from tests.vm.conftest import BootGuest
from tests.vm.served_guest import GUEST, Site, assert_works, backends, link_states, wait_for, wait_in_guest

TIMEOUT = 2
# What stock drivers say of a disk that answers with errors, as they should.
EXPECTED = re.compile(r"I/O error.* (dev|device) vd[ab]|Buffer I/O error on dev vd[ab]")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.write("web", template=GUEST.replace('"{name}.img"', f'"{{name}}.img"\n  timeout = "{TIMEOUT}s"'))
    return made


def test_a_disk_is_lost_and_had_back(site: Site, boot: BootGuest) -> None:
    image = site.image("web")
    away = image.with_suffix(".away")
    with ServiceProcess(["serve", str(site.config)], site.folder) as service:
        guest = boot(doorbells=site.doorbells("web"), cpus=2, clean_log=False)
        assert_works(guest, site, "web")
        image.rename(away)
        killed = backends(service)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        # A read that cannot be interrupted ends all the same; what else the guest has works meanwhile.
        guest.run("(dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null; echo $? > /run/read) &")
        wait_in_guest(guest, "[ -s /run/read ]", 60)
        assert guest.run("cat /run/read") == "1"
        assert int(guest.run("head -c 32 /dev/hwrng | wc -c")) == 32
        assert {link["registrations"] for link in link_states(guest).values()} == {"1"}
        # A driver that meets the failing disk takes it, and can let go of it.
        guest.run("rmmod virtio_ivshmem && modprobe virtio_ivshmem")
        wait_in_guest(guest, "[ -b /dev/vda ]", 20)
        guest.run("! dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null")
        away.rename(image)
        wait_for(lambda: "served again after" in service.log.read_text(), "the disk to be back", 30)
        assert_works(guest, site, "web", within=20)
    log = guest.kernel_log.read_text("utf-8", "replace")
    assert not [line for line in trouble(log) if not EXPECTED.search(line)]
