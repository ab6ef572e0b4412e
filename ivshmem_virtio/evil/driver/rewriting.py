# SPDX-License-Identifier: MIT
"""Everything changes while the device looks at it: what was checked is no longer what is there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ivshmem_virtio.evil.driver.mutated import Mutants
from ivshmem_virtio.evil.driver.outcome import Outcome
from ivshmem_virtio.evil.driver.places import Stretch
from ivshmem_virtio.evil.driver.scenario import Act, Attempt, Scenario
from ivshmem_virtio.evil.driver.target import Target
from ivshmem_virtio.link.layout import Header
from ivshmem_virtio.transport.transaction import SIZES, Transaction

SECONDS = 0.5
CHOICES = 8

Where = Callable[[Target], list[Stretch]]


@contextmanager
def second_thread(target: Target, seed: int, stretches: list[Stretch]) -> Iterator[None]:
    """``rewriter`` at work on stretches of the region."""
    words = [f"{stretch.start}:{stretch.end}" for stretch in stretches]
    command = [sys.executable, "-m", "ivshmem_virtio.evil.driver.rewriter", str(target.memory), str(seed), *words]
    with subprocess.Popen(command, pass_fds=[target.memory]) as process:
        try:
            yield
        finally:
            process.kill()


def in_region(target: Target, *stretches: Stretch) -> list[Stretch]:
    """From offsets in the window to offsets in the region."""
    base = target.layout.window_offset
    return [Stretch(base + stretch.start, base + stretch.end) for stretch in stretches]


def rings(target: Target) -> list[Stretch]:
    return in_region(target, *(Stretch(place.ring.desc, place.ring.end) for place in target.places))


def rooms(target: Target) -> list[Stretch]:
    """Where mutants lie: their buffers and indirect tables."""
    return in_region(
        target, *(Stretch(place.room.start, min(place.room.end, place.room.start + 65536)) for place in target.places)
    )


def registers(target: Target) -> list[Stretch]:
    return in_region(target, Stretch(Header.REVISION, target.backend.registers_end))


def link(target: Target) -> list[Stretch]:
    """State Table and the whole window; the parts that matter most, more often."""
    whole = Stretch(target.layout.offset, target.layout.end)
    return [whole, *registers(target), *rings(target), *rooms(target)]


def while_rewriting(where: Where) -> Act:
    """An attempt: half a second of requests and transactions while another process rewrites ``where``; afterwards a
    driver that behaves must be served.
    """

    def act(attempt: Attempt) -> Outcome:
        target, dice = attempt.target, attempt.dice
        until = time.monotonic() + SECONDS
        with second_thread(target, dice.getrandbits(32), where(target)):
            while time.monotonic() < until:
                _work(attempt)
        outcome = Outcome.NEEDS_RESET if target.broken else Outcome.COMPLETED
        target.recover(anew=True)
        return outcome

    return act


def _work(attempt: Attempt) -> None:
    """One thing that makes the device look: chains on all queues, or a register. Nothing is waited for."""
    target, dice = attempt.target, attempt.dice
    choice = int(dice.random() * CHOICES)
    if choice == 0:
        field = dice.choice(list(SIZES))
        target.window.store32(Header.WRITE_TRANSACTION, Transaction.of(field, SIZES[field][0], choice).word)
        attempt.report.transactions += 1
    for ring in target.rings:
        mutants = Mutants(ring, target.layout.device_id)
        ring.offer(mutants.heads(dice, mutants.slots))
        attempt.report.chains += mutants.slots
        ring.kick()
    # A device that broke off would look at nothing any more.
    if target.broken and choice == 1:
        target.bring_up()


SCENARIOS = (
    Scenario("rewrite-rings", "another thread rewrites the rings at full speed", while_rewriting(rings)),
    Scenario("rewrite-rooms", "another thread rewrites buffers and tables", while_rewriting(rooms)),
    Scenario("rewrite-header", "another thread rewrites all registers", while_rewriting(registers)),
    Scenario("rewrite-link", "another thread rewrites the whole link, State Table included", while_rewriting(link)),
)
