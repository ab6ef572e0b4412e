# SPDX-License-Identifier: MIT
"""Tap interfaces of the host for one measurement, each the only neighbour of one interface in the guest."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ivshmem_virtio.bench.errors import BenchError
from ivshmem_virtio.vm.packages import tool


class TapsUnavailable(BenchError):
    """Interfaces cannot be made here: no privilege, or no tun driver."""


@dataclass(frozen=True, slots=True)
class Tap:
    """One interface; ``net`` numbers a subnet of those set aside for benchmarks (RFC 2544)."""

    name: str
    net: int

    @property
    def host_address(self) -> str:
        return f"198.18.{self.net}.1"

    @property
    def guest_address(self) -> str:
        return f"198.18.{self.net}.2"

    @property
    def mac(self) -> str:
        """Of the guest's end; no tap has a multicast or another's address."""
        return f"52:54:00:be:{os.getpid() & 0xFF:02x}:{self.net:02x}"


@contextmanager
def taps(names: Sequence[str], first_net: int = 210) -> Iterator[dict[str, Tap]]:
    """One tap for each name, up and with an address, gone afterwards. Raises TapsUnavailable."""
    made: dict[str, Tap] = {}
    with ExitStack() as cleanup:
        for number, name in enumerate(names):
            tap = Tap(f"ivb{os.getpid()}{chr(97 + number)}", first_net + number)
            _ip("tuntap", "add", "dev", tap.name, "mode", "tap")
            cleanup.callback(_remove, tap)
            _ip("addr", "add", f"{tap.host_address}/24", "dev", tap.name)
            _ip("link", "set", tap.name, "up")
            made[name] = tap
        yield made


def _ip(*arguments: str) -> None:
    done = subprocess.run([tool("ip", "iproute2"), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        why = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise TapsUnavailable(f"ip {' '.join(arguments)}: {why[0]}; making interfaces needs CAP_NET_ADMIN")


def _remove(tap: Tap) -> None:
    subprocess.run([tool("ip", "iproute2"), "link", "delete", tap.name], capture_output=True, check=False)
