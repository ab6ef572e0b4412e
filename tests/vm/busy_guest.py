# SPDX-License-Identifier: MIT
"""A guest whose every device is in use, over and over, so that whatever happens to it happens mid-work."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from pathlib import Path

from ivshmem_virtio.vm.errors import CommandFailed, GuestTimeout
from ivshmem_virtio.vm.guest import Guest

REGION = 256 << 10
"""Bytes at the start of the disk that the writers write, with one byte value for each life of the guest."""

# Each loop tells of every round, done or missed, and goes on while its device is away. Disks are opened through nodes
# of the loop's own: a redirection to a path in /dev that is gone for a moment would make a file there.
PREPARE = """
rm -rf /run/load; mkdir -p /run/load
cat > /run/load/disk <<'END'
node=/run/load/node.$1; shift; rm -f $node
set -- $(head -n 1 /sys/block/vda/dev 2>/dev/null | tr : ' ') "$@"
[ -n "$3" ] && mknod $node b $1 $2 || exit 1
shift 2; exec dd "$@" conv=notrunc bs=4k $direction=$node
END
head -c {region} /dev/zero | tr '\\000' '\\{octal:03o}' > /run/load/pattern
busy() {{ name=$1; shift; (while [ ! -e /run/load/stop ]; do
    if sh -c "$*"; then echo >> /run/load/$name.done; else echo >> /run/load/$name.missed; sleep 0.1; fi
    done; echo > /run/load/$name.ended) >/dev/null 2>&1 & }}
ip link set eth0 up
# The terminal is let go a second after it was hung up: closing one that just goes can end Linux' own hvc driver.
(while [ ! -e /run/load/stop ]; do
    [ ! -c /dev/hvc0 ] || (exec 3<> /dev/hvc0 && while [ ! -e /run/load/stop ] && stty <&3; do sleep 0.1; done; sleep 1)
    sleep 0.1
done) >/dev/null 2>&1 &
"""
LOOPS = {
    "write0": "direction=of sh /run/load/disk 0 if=/run/load/pattern oflag=direct",
    "write1": "direction=of sh /run/load/disk 1 if=/run/load/pattern count=8 seek=8 skip=8 oflag=direct",
    "read": "direction=if sh /run/load/disk 2 of=/dev/null count=64 iflag=direct",
    "random": '[ "$(head -c 256 /dev/hwrng | wc -c)" = 256 ]',
    "console": "[ -d /sys/class/tty/hvc0 ] && head -c 4096 /run/load/pattern > /dev/hvc0",
    "frames": "ip link set eth0 up && { arping -q -c 1 -w 1 -I eth0 -s 0.0.0.0 10.2.3.4; [ -d /sys/class/net/eth0 ]; }",
}
WHO_IS_STUCK = """
ls -l /run/load
for task in /proc/[0-9]*; do
    [ -n "$(tr -d '\\0' < $task/cmdline)" ] || continue
    echo "$(cut -d ' ' -f 1-3 $task/stat): $(head -n 4 $task/stack | tr '\\n' ' ')"
done
"""
WAIT_SECONDS = 90
ANSWER_SECONDS = 15
DISK_LOOPS = ("write0", "write1", "read")


def start_load(guest: Guest, life: int, *, without: str = "") -> None:
    """Have every device in use; returns when each loop has gone round. The disk is written with byte ``life``."""
    loops = {name: command for name, command in LOOPS.items() if name != without}
    busy = "\n".join(f"busy {name} {shlex.quote(command)}" for name, command in loops.items())
    guest.run(PREPARE.format(region=REGION, octal=life) + busy)
    _wait(guest, loops, "done")


def wait_round(guest: Guest, result: str, loops: Iterable[str] = LOOPS) -> None:
    """Each of the loops goes round once more, with this result: "done" or "missed"."""
    guest.run(f"rm -f /run/load/*.{result}")
    _wait(guest, loops, result)


def stop_load(guest: Guest) -> None:
    """Let every loop come to its end: nobody may wait for ever."""
    guest.run("touch /run/load/stop")
    _wait(guest, LOOPS, "ended")


def _wait(guest: Guest, loops: Iterable[str], file: str) -> None:
    """Asked for again and again: emulated, a guest that has just become idle may lose the interrupt it waits for, and
    sleeps until somebody types."""
    condition = " && ".join(f"[ -e /run/load/{loop}.{file} ]" for loop in loops)
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            guest.run(condition, timeout=ANSWER_SECONDS)
            return
        except (CommandFailed, GuestTimeout) as error:
            if time.monotonic() > deadline:
                stuck = guest.run(WHO_IS_STUCK)[-2000:]
                raise AssertionError(f"{error}\n{stuck}\n{guest.last_kernel_lines()}") from error
        time.sleep(0.2)


def write_once(guest: Guest, life: int) -> None:
    """The whole region holds byte ``life``, and the guest has been told so."""
    guest.run(
        f"head -c {REGION} /dev/zero | tr '\\000' '\\{life:03o}' > /run/once; "
        "dd if=/run/once of=/dev/vda bs=64k oflag=direct conv=notrunc,fsync 2>/dev/null"
    )


def assert_only(image: Path, life: int) -> None:
    """Nothing of an earlier life is in the region."""
    found = image.read_bytes()[:REGION]
    stale = sorted(set(found) - {life})
    assert not stale, f"bytes of lives {stale} in the place of {life}: {[found.count(value) for value in stale]}"
