# SPDX-License-Identifier: MIT
"""fio writes and verifies in a guest while the back-end is killed: no I/O error, no byte wrong, short pauses."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ivshmem_virtio.vm.guest import Guest
from ivshmem_virtio.vm.initrd import build_initrd
from ivshmem_virtio.vm.kernel import Kernel
from ivshmem_virtio.vm.qemu import Doorbell
from ivshmem_virtio.vm.service import ServiceProcess
from tests.figures import Figures
from tests.outages import Gap, assert_short, in_milliseconds, outages, python_start, taken_again
from tests.vm.conftest import BootGuest
from tests.vm.killer import kill_again_and_again
from tests.vm.served_guest import link_states, wait_in_guest

# The delay of the first makes what is in flight come back out of order; requests of the second, whose rings are packed,
# wait for seconds.
CONFIG = """[service]
name = "{name}"
runtime_dir = "run"
[[guest]]
name = "web"
region = "32M"
vectors = 16
  [[guest.device]]
  type = "blk"
  name = "disk"
  path = "disk.img"
  queues = 2
  delay_ms = 80
  window = "8M"
  [[guest.device]]
  type = "blk"
  name = "slow"
  path = "slow.img"
  queues = 2
  requests_per_second = 12
  window = "4M"
  ring = "packed"
"""
COMMON = "--ioengine=libaio --direct=1 --iodepth=32 --rw=randrw --verify=crc32c --verify_fatal=1 --verify_backlog=24"
FAST = "--name=disk --bsrange=512-16k --blockalign=512 --numjobs=2 --size=2M --offset_increment=2M"
SLOW = "--name=slow --bs=4k --numjobs=2 --size=128k --offset_increment=128k"
LOGS = "--write_lat_log=/run/fio --per_job_logs=0 --log_unix_epoch=1"
# One pass after the other: each writes and reads all over its part of the disk, and verifies what it wrote. Of the
# times of completions only those are kept between which there was a pause. Which disk becomes vda is left to chance.
WORK = f"""
cat > /run/work <<'END'
passes() {{
    n=0
    disk=/dev/$(grep -lx $name /sys/block/vd*/serial | cut -d/ -f4)
    while [ ! -e /run/stop ]; do
        "$@" --filename=$disk --randseed=$n > /run/$name.out 2>&1 \\
            || {{ echo "$name: pass $n"; cat /run/$name.out; }} >> /run/bad
        n=$((n + 1))
        echo $n > /run/$name.passes
        [ $name = slow ] || {{
            cat /run/fio_lat*.log | wc -l >> /run/requests
            cat /run/fio_lat*.log | sort -n | awk -F, 'p && $1 - p > 30 {{ print p, $1 }} {{ p = $1 }}' >> /run/gaps
            rm /run/fio_*.log
        }}
    done
    echo done > /run/$name.done
}}
cd /run
name=disk passes fio {COMMON} {FAST} {LOGS} &
name=slow passes fio {COMMON} {SLOW} &
wait
END
sh /run/work > /dev/null 2>&1 &
"""


# Bit 34 of the features that its driver has accepted: VIRTIO_F_RING_PACKED.
PACKED_DISKS = "for d in /sys/block/vd*; do [ $(cut -c 35 $d/device/features) = 0 ] || cat $d/serial; done"


@pytest.fixture
def fio_initrd(kernel: Kernel, module: Path) -> Path:
    """The initramfs of a guest with fio."""
    return build_initrd(kernel, module, programs={"usr/bin/fio": "fio"})


def clock_difference(guest: Guest) -> float:
    """Seconds that the guest's clock is ahead of ours; the command's own time is the error."""
    before = time.time()
    said = dict(line.strip().split(":") for line in guest.run("adjtimex").splitlines() if "time.tv_" in line)
    after = time.time()
    return float(said["time.tv_sec"]) + float(said["time.tv_usec"]) / 1e6 - (before + after) / 2


def pauses_in_guest(guest: Guest, ahead: float) -> list[Gap]:
    """On our clock."""
    lines = guest.run("cat /run/gaps").splitlines()
    return [(int(a) / 1000 - ahead, int(b) / 1000 - ahead) for a, b in (line.split() for line in lines)]


def make_site(folder: Path) -> Path:
    config = folder / "service.toml"
    config.write_text(CONFIG.format(name=f"vm-{secrets.token_hex(4)}"))
    for image in ("disk.img", "slow.img"):
        (folder / image).write_bytes(bytes(4 << 20))
    return config


@pytest.mark.newest_kernel
@pytest.mark.parametrize(
    "kills", [4, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(1500)])], ids="{} kills".format
)
def test_fio_finds_nothing_wrong(
    kills: int, tmp_path: Path, boot: BootGuest, fio_initrd: Path, kernel: Kernel, figures: Figures
) -> None:
    """The kernel log is checked as well: an I/O error, or a used entry too many, would stand there."""
    config = make_site(tmp_path)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with ServiceProcess(["serve", str(config)], tmp_path) as service:
        doorbells: Sequence[Doorbell] = [Doorbell(tmp_path / "run" / "web.sock", 16)]
        guest = boot(doorbells=doorbells, initrd=fio_initrd, cpus=2, memory_mib=768)
        wait_in_guest(guest, "[ -b /dev/vda ] && [ -b /dev/vdb ]", 30)
        assert guest.run(PACKED_DISKS) == "slow"
        guest.run(WORK)
        wait_in_guest(guest, "[ -s /run/disk.passes ]", 60)
        times = kill_again_and_again(config, kills, random.Random(seed))
        start = python_start()
        guest.run("touch /run/stop")
        wait_in_guest(guest, "[ -e /run/disk.done ] && [ -e /run/slow.done ]", 120)
        assert guest.run("cat /run/bad 2>/dev/null || true") == ""
        found = outages(pauses_in_guest(guest, clock_difference(guest)), times)
        requests = sum(map(int, guest.run("cat /run/requests").split()))
        assert {link["registrations"] for link in link_states(guest).values()} == {"1"}
        again = taken_again(service.log.read_text())
    columns = in_milliseconds(list(found), start)
    figures(
        f"disk, fio on Linux {kernel.release}",
        kills=kills,
        requests=requests,
        again=again,
        errors=0,
        **columns,
    )
    assert_short(columns, kills)
