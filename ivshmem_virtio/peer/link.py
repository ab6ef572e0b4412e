# SPDX-License-Identifier: MIT
"""One link as one of its two peers sees it: where the differences between ivshmem v1 and v2 end."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ivshmem_virtio.core import Window
from ivshmem_virtio.peer.doorbells import Rope


class Link(ABC):
    """State Table, doorbells and R/W section of one link (docs/protocol.md, 2 and 3).

    Vectors are link-relative. Doorbells may be lost or come for nothing: every waiter looks again on a timer.
    """

    window: Window
    """The R/W section."""
    index: int
    """Own peer index on the link: 0 back-end, 1 front-end."""
    vectors: int
    """How many own vectors there are; at least 1. A front-end short of vectors shares them."""

    @abstractmethod
    def own_state(self) -> int:
        """Own entry of the State Table. On v1 the other side can write it too: not to be trusted."""

    @abstractmethod
    def set_state(self, value: int) -> None:
        """Store ``value`` in the own entry, then ring the other side's vector 0."""

    @abstractmethod
    def other_state(self) -> int:
        """The other side's entry of the State Table, read once."""

    @abstractmethod
    def ring(self, vector: int) -> None:
        """Ring one vector of the other side; nothing happens where peer or vector do not exist."""

    def bell(self, vector: int) -> Rope | None:
        """The eventfd that ``ring`` writes to, for compiled code; None where it takes more than that."""
        return None

    @abstractmethod
    def fileno(self, vector: int) -> int:
        """A descriptor that is readable when the own ``vector`` was rung; an unknown one is that of vector 0."""

    @abstractmethod
    def acknowledge(self, vector: int) -> None:
        """Make ``fileno(vector)`` unreadable until it is rung again."""

    @abstractmethod
    def other_peer_is(self, peer_id: int) -> bool:
        """Whether the other side may claim to be ivshmem peer ``peer_id``."""

    @abstractmethod
    def close(self) -> None:
        """Unmap the link's memory."""
