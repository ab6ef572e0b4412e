# SPDX-License-Identifier: MIT
"""Whoever starts first, and whoever starts again: within 5 s of both sides being up, every device works."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from ivshmem_virtio.vm.guest import Guest
from ivshmem_virtio.vm.kernel_log import trouble
from ivshmem_virtio.vm.service import ServiceProcess
from tests.vm.conftest import BootGuest
from tests.vm.served_guest import ALONE, VECTORS, Site, assert_works, backends, link_states, wait_for, wait_in_guest


def serve(site: Site) -> ServiceProcess:
    return ServiceProcess(["serve", str(site.config)], site.folder)


def test_service_first(site: Site, boot: BootGuest) -> None:
    with serve(site):
        guest = boot(doorbells=site.doorbells("web"))
        assert_works(guest, site, "web")


def test_qemu_first(site: Site, boot: BootGuest) -> None:
    """With socket activation the socket is there before the service: QEMU waits in its handshake."""
    path = site.socket_of("web")
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(os.fspath(path))
        listening.listen()
        with ThreadPoolExecutor(1) as thread:
            # QEMU answers nobody before its handshake is done; the thread outlives it, or QEMU would end with it.
            starting = thread.submit(boot, doorbells=site.doorbells("web"))
            assert not starting.done()
            time.sleep(1)
            with activated(site, listening):
                guest = starting.result()
                assert_works(guest, site, "web")
                guest.stop()


@contextmanager
def activated(site: Site, listening: socket.socket) -> Iterator[None]:
    """``serve``, started as systemd starts a service whose listening socket it holds: as descriptor 3."""
    pidfile = site.folder / "activated.pid"
    serve = f'exec "{sys.executable}" -m ivshmem_virtio serve "{site.config}" --pidfile "{pidfile}"'
    shell = f"exec 3<&{listening.fileno()}; LISTEN_PID=$$ LISTEN_FDS=1 {serve}"
    process = subprocess.Popen(["bash", "-c", shell], pass_fds=[listening.fileno()])
    try:
        wait_for(pidfile.exists, "the activated service")
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_module_before_the_directory(site: Site, boot: BootGuest) -> None:
    """A foreign server hands out an empty region; the directory comes with the back-end, when the guest runs."""
    site.write("web", template=ALONE)
    path = site.socket_of("web")
    path.parent.mkdir()
    options = ["--size", "32M", "--vectors", str(VECTORS), "--shm-name", site.config.parent.name]
    with ServiceProcess(["server", "--socket", str(path), *options], site.folder, "server"):
        guest = boot(doorbells=site.doorbells("web"))
        assert guest.run("ls /sys/bus/virtio/devices") == ""
        with ServiceProcess(["attach", str(site.config), "--socket", str(path)], site.folder, "attach"):
            assert_works(guest, site, "web")


def test_system_reset(site: Site, boot: BootGuest) -> None:
    with serve(site):
        guest = boot(doorbells=site.doorbells("web"))
        for _ in range(3):
            assert_works(guest, site, "web")
            guest.reset()
        assert_works(guest, site, "web")


def test_qemu_killed_and_started_again(site: Site, boot: BootGuest) -> None:
    with serve(site):
        for number in range(3):
            guest = boot(doorbells=site.doorbells("web"), name=f"life{number}")
            assert_works(guest, site, "web")
            if number < 2:
                guest.kill()


def test_guest_panic(site: Site, boot: BootGuest) -> None:
    with serve(site):
        guest = boot(doorbells=site.doorbells("web"), clean_log=False)
        assert_works(guest, site, "web")
        start_traffic(guest)
        guest.shell.post("echo c > /proc/sysrq-trigger")
        guest.wait_ready()
        assert_works(guest, site, "web")


def start_traffic(guest: Guest) -> None:
    """Reads and writes that are in flight when whatever happens next happens."""
    guest.run("(while :; do dd if=/dev/vda of=/dev/null bs=64k 2>/dev/null; done) >/dev/null 2>&1 &")
    guest.run("(while :; do head -c 4096 /dev/hwrng; done) >/dev/null 2>&1 &")


def test_service_restarted_under_a_guest_that_is_started_again(site: Site, boot: BootGuest) -> None:
    with serve(site):
        guest = boot(doorbells=site.doorbells("web"), name="before", clean_log=False)
        assert_works(guest, site, "web")
        guest.stop()
    with serve(site):
        guest = boot(doorbells=site.doorbells("web"), name="after")
        assert_works(guest, site, "web")


def test_backend_killed(site: Site, boot: BootGuest) -> None:
    """New back-ends go on where those before were: the guest keeps its devices."""
    with serve(site) as service:
        guest = boot(doorbells=site.doorbells("web"))
        assert_works(guest, site, "web")
        kill_backends(service)
        assert_works(guest, site, "web", within=8)
        assert {link["registrations"] for link in link_states(guest).values()} == {"1"}


def test_backend_killed_and_its_image_replaced(site: Site, boot: BootGuest) -> None:
    """A new epoch for the disk, which is registered anew: a read in flight may fail. The other links resume."""
    with serve(site) as service:
        guest = boot(doorbells=site.doorbells("web"), clean_log=False)
        assert_works(guest, site, "web")
        site.replace_image("web")
        kill_backends(service)
        renewed = "$(cat /sys/kernel/debug/virtio_ivshmem/*/state | grep -c '^registrations 2')"
        wait_in_guest(guest, f'[ "{renewed}" = 1 ]', 8)
        assert_works(guest, site, "web")
        assert link_states(guest)["disk"]["registrations"] == "2"
    assert not [line for line in trouble(guest.kernel_log.read_text("utf-8", "replace")) if "I/O error" not in line]


def kill_backends(service: ServiceProcess) -> None:
    """All of them at once; returns when there are new ones."""
    killed = backends(service)
    for pid in killed:
        os.kill(pid, 9)
    wait_for(lambda: len(set(backends(service)) - set(killed)) == len(killed), "new back-ends")
