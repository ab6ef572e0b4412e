# SPDX-License-Identifier: MIT
"""What a scenario is: a name, a line about it, and one function that pulls strings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Flag, auto
from random import Random

from ivshmem_virtio.evil.backend.acts import Act
from ivshmem_virtio.evil.backend.chain import Chain
from ivshmem_virtio.evil.backend.puppet import Complete, Puppet, Transact
from ivshmem_virtio.evil.backend.queue import PuppetQueue
from ivshmem_virtio.evil.backend.stage import Stage


@dataclass
class Play:
    """One performance: its puppets, its chance, and what is to be done at every turn."""

    stage: Stage
    random: Random
    turns: list[Callable[[], None]] = field(default_factory=list)
    done: int = 0
    """How often something was done that no honest back-end does."""

    @property
    def puppets(self) -> list[Puppet]:
        return self.stage.puppets

    def puppet_of(self, act: type[Act]) -> list[Puppet]:
        """The puppets that play this type of device."""
        return [puppet for puppet in self.puppets if isinstance(puppet.act, act)]

    def each_turn(self, what: Callable[[Puppet], None]) -> None:
        """Do this to every puppet at every turn."""

        def turn() -> None:
            for puppet in self.puppets:
                what(puppet)
                self.done += 1

        self.turns.append(turn)

    def lie(self, offset: int, value: int) -> None:
        """Every puppet publishes ``value`` at ``offset`` of its window."""
        for puppet in self.puppets:
            puppet.lies[offset] = value
            self.done += 1

    def completing(self, how: Complete) -> None:
        """Answers go back in this way."""

        def complete(puppet: Puppet, queue: PuppetQueue, chain: Chain, written: int) -> None:
            self.done += 1
            how(puppet, queue, chain, written)

        for puppet in self.puppets:
            puppet.complete = complete

    def transacting(self, how: Transact) -> None:
        """Transactions are served in this way."""

        def transact(puppet: Puppet, word: int) -> None:
            self.done += 1
            how(puppet, word)

        for puppet in self.puppets:
            puppet.transact = transact


Action = Callable[[Play], None]


class Rings(Flag):
    """Which rings drivers get in a scenario. With both it is two scenarios, each with a name of its own."""

    SPLIT = auto()
    PACKED = auto()
    BOTH = SPLIT | PACKED


PACKED_PREFIX = "packed-"


@dataclass(frozen=True)
class Scenario:
    """``early``: acts before drivers come; otherwise once they all have said DRIVER_OK. ``packed``: on packed rings."""

    name: str
    about: str
    act: Action
    early: bool
    packed: bool = False
    writes_next: bool = False
    """It sets or clears the NEXT flag in a descriptor table, which Linux's split ring trusts."""


class Group:
    """Collects the scenarios of one file."""

    def __init__(self) -> None:
        self.scenarios: list[Scenario] = []

    def early(self, name: str, about: str, *, rings: Rings = Rings.SPLIT) -> Callable[[Action], Action]:
        """For a function that prepares puppets before a driver has seen them."""
        return self._add(name, about, rings, early=True)

    def running(
        self, name: str, about: str, *, rings: Rings = Rings.SPLIT, writes_next: bool = False
    ) -> Callable[[Action], Action]:
        """For a function that is called when devices run. ``writes_next`` matters with split rings only."""
        return self._add(name, about, rings, early=False, writes_next=writes_next)

    def _add(
        self, name: str, about: str, rings: Rings, *, early: bool, writes_next: bool = False
    ) -> Callable[[Action], Action]:
        def add(act: Action) -> Action:
            if Rings.SPLIT in rings:
                self.scenarios.append(Scenario(name, about, act, early, writes_next=writes_next))
            if Rings.PACKED in rings:
                text = f"{about[:-1]} (packed rings)."
                self.scenarios.append(Scenario(PACKED_PREFIX + name, text, act, early, packed=True))
            return act

        return add
