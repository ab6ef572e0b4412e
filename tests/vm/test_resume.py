# SPDX-License-Identifier: MIT
"""Back-ends are killed under a guest that works: it sees pauses, and no error."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time

from ivshmem_virtio.vm.service import ServiceProcess
from tests.vm.conftest import BootGuest
from tests.vm.served_guest import Site, assert_works, backends, link_states, wait_for, wait_in_guest

KILLS = 10
# Longer than a back-end is taken to be young, so that each is started again at once.
LIFE_SECONDS = 2.2

WORK = """
cat > /run/work <<'END'
n=0
while [ ! -e /run/stop ]; do
    head -c 524288 /dev/urandom > /run/data
    dd if=/run/data of=/dev/vda bs=16k seek=$((n % 3 * 32)) conv=notrunc,fsync 2>> /run/said || echo write >> /run/bad
    echo 3 > /proc/sys/vm/drop_caches
    dd if=/dev/vda of=/run/back bs=16k skip=$((n % 3 * 32)) count=32 2>> /run/said || echo read >> /run/bad
    [ "$(sha256sum < /run/data)" = "$(sha256sum < /run/back)" ] || echo differs >> /run/bad
    n=$((n + 1))
    echo $n > /run/rounds
done
echo done > /run/done
END
sh /run/work > /dev/null 2>&1 &
"""


def test_back_ends_are_killed_under_load(site: Site, boot: BootGuest) -> None:
    """The kernel log is checked as well: an I/O error would stand there."""
    with ServiceProcess(["serve", str(site.config)], site.folder) as service:
        guest = boot(doorbells=site.doorbells("web"), cpus=2)
        assert_works(guest, site, "web")
        guest.run(WORK)
        wait_in_guest(guest, "[ -s /run/rounds ]", 60)
        for _ in range(KILLS):
            wait_for(lambda: len(backends(service)) == 2, "the back-ends")
            time.sleep(LIFE_SECONDS + random.random() / 2)
            for pid in backends(service):
                os.kill(pid, signal.SIGKILL)
        guest.run("touch /run/stop")
        wait_in_guest(guest, "[ -e /run/done ]", 60)
        assert guest.run("cat /run/bad 2>/dev/null || true") == ""
        assert_works(guest, site, "web", within=10)
        assert (
            guest.run("sha256sum < /dev/vda").split()[0] == hashlib.sha256(site.image("web").read_bytes()).hexdigest()
        )
        states = link_states(guest)
        rounds = guest.run("cat /run/rounds")
    assert {link["registrations"] for link in states.values()} == {"1"}
    pause = int(states["disk"]["absent_total_ms"]) / KILLS
    print(f"{rounds} rounds, {KILLS} kills, {pause:.0f} ms of absence each")
