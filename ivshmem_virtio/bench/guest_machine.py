# SPDX-License-Identifier: MIT
"""The guest that suite ``guest`` measures in: our disk and network, and QEMU's own beside them in the same boot.

QEMU's devices are there twice: plain, and going through the kernel's bounce buffers as ours go through the window
(``iommu_platform=on`` in a guest booted with ``swiotlb=force``). Our own path has mapping operations of its own, which
that parameter does not reach.
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ivshmem_virtio.bench.guest_taps import Tap, TapsUnavailable, taps
from ivshmem_virtio.vm.accelerator import choose
from ivshmem_virtio.vm.guest import CONSOLE, Guest
from ivshmem_virtio.vm.initrd import build_initrd, programs_root
from ivshmem_virtio.vm.kernel import SERIES, kernel
from ivshmem_virtio.vm.module_build import build_module
from ivshmem_virtio.vm.qemu import Boot, Doorbell, escaped, qemu_arguments
from ivshmem_virtio.vm.service import ServiceProcess

OURS = "ivshmem"
BOUNCING = "swiotlb"
PLAIN = "plain"
PLACES = (OURS, BOUNCING, PLAIN)
PROGRAMS = {"usr/bin/fio": "fio", "usr/bin/iperf3": "iperf3"}
VECTORS = 16
_CONFIGURATION = """\
[service]
name = "{service}"
runtime_dir = "run"
[[guest]]
name = "guest"
region = "64M"
vectors = {vectors}
  [[guest.device]]
  type = "blk"
  name = "{disk}"
  path = "{disk}.img"
  queue_size = 256
  window = "16M"
"""
_NETWORK = """\
  [[guest.device]]
  type = "net"
  name = "net"
  mac = "{mac}"
  window = "16M"
  via = {{ tap = "{tap}" }}
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted guest. ``disks`` maps each place to its node, ``taps`` to its interface unless ``without_taps`` says why
    there are none."""

    guest: Guest
    disks: Mapping[str, str]
    taps: Mapping[str, Tap]
    without_taps: TapsUnavailable | None
    programs: Path
    command: str


def configuration(service: str, tap: Tap | None) -> str:
    """Of the service that serves our devices."""
    text = _CONFIGURATION.format(service=service, vectors=VECTORS, disk=OURS)
    return text + (_NETWORK.format(mac=tap.mac, tap=tap.name) if tap is not None else "")


def peer_arguments(folder: Path, interfaces: Mapping[str, Tap]) -> list[str]:
    """QEMU's own devices: the same kind of file, page cache and asynchronous I/O as fast as QEMU has it."""
    arguments: list[str] = []
    for place in (BOUNCING, PLAIN):
        options = "disable-legacy=on" + (",iommu_platform=on" if place == BOUNCING else "")
        image = escaped(str(folder / f"{place}.img"))
        arguments += ["-drive", f"file={image},format=raw,if=none,id={place},cache=writeback,aio=io_uring"]
        arguments += ["-device", f"virtio-blk-pci,drive={place},serial={place},{options}"]
        if place in interfaces:
            tap = interfaces[place]
            arguments += ["-netdev", f"tap,id=net-{place},ifname={tap.name},script=no,downscript=no"]
            arguments += ["-device", f"virtio-net-pci,netdev=net-{place},mac={tap.mac},romfile=,{options}"]
    return arguments


@contextmanager
def machine(
    folder: Path,
    *,
    series: str = SERIES[-1],
    disk_mib: int = 128,
    module: Path | None = None,
    files: Mapping[str, Path] | None = None,
    extra: Sequence[str] = (),
) -> Iterator[Machine]:
    """Boot it, with service, images and interfaces; all but the images is gone afterwards.

    ``folder`` is for the images, ``module`` the guest module if not this checkout's, ``files`` maps more paths in the
    guest to files here, ``extra`` are more arguments of QEMU. Raises what booting a guest raises.
    """
    chosen = kernel(series)
    initrd = build_initrd(chosen, module or build_module(chosen), files=files, programs=PROGRAMS)
    with ExitStack() as cleanup:
        interfaces, without = _interfaces(cleanup)
        for place in PLACES:
            (folder / f"{place}.img").write_bytes(os.urandom(1 << 20) * disk_mib)
        config = folder / "service.toml"
        config.write_text(configuration(f"bench-{secrets.token_hex(4)}", interfaces.get(OURS)))
        cleanup.enter_context(ServiceProcess(["serve", str(config)], folder))
        arguments = qemu_arguments(
            doorbells=[Doorbell(folder / "run" / "guest.sock", VECTORS)],
            accelerator=choose("auto").accelerator,
            boot=Boot(chosen.image, initrd, f"{CONSOLE} swiotlb=force mitigations=off"),
            memory_mib=768,
            extra=[*peer_arguments(folder, interfaces), *extra],
        )
        guest = cleanup.enter_context(Guest(arguments, folder, "bench"))
        guest.wait_ready()
        guest.run("modprobe virtio_pci 2>/dev/null || true")  # built into some kernels
        disks = wait_for_disks(guest, PLACES)
        yield Machine(guest, disks, interfaces, without, programs_root(PROGRAMS), shlex.join(arguments))


def _interfaces(cleanup: ExitStack) -> tuple[dict[str, Tap], TapsUnavailable | None]:
    try:
        return cleanup.enter_context(taps(PLACES)), None
    except TapsUnavailable as error:
        return {}, error


def wait_for_disks(guest: Guest, serials: Sequence[str]) -> dict[str, str]:
    """Node of the disk with each serial number, once they are all there."""
    loop = (
        'for s in {}; do n=0; until d=$(grep -lx "$s" /sys/block/vd*/serial 2>/dev/null); do n=$((n + 1));'
        " [ $n -lt 300 ] || exit 1; usleep 100000; done; echo $s /dev/$(echo $d | cut -d/ -f4); done"
    )
    lines = guest.run(loop.format(" ".join(serials))).splitlines()
    return dict(line.split(" ", 1) for line in lines)


def bring_up(guest: Guest, interfaces: Mapping[str, Tap]) -> None:
    """Give the guest's end of each tap its address."""
    for tap in interfaces.values():
        find = f"$(grep -lix {tap.mac} /sys/class/net/*/address | cut -d/ -f5)"
        guest.run(f"i={find}; ip addr replace {tap.guest_address}/24 dev $i && ip link set $i up")


def bounces(guest: Guest, work: Callable[[], object]) -> bool:
    """Whether ``work`` made the kernel's bounce buffers fuller than they are at rest."""
    used = "/sys/kernel/debug/swiotlb/io_tlb_used_hiwater"
    guest.run(f"echo 0 > {used}")
    before = int(guest.run(f"cat {used}"))
    work()
    return int(guest.run(f"cat {used}")) > before
