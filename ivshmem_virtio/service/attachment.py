# SPDX-License-Identifier: MIT
"""What a back-end is told about one guest: links, devices and descriptors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ivshmem_virtio.link.layout import LinkLayout
from ivshmem_virtio.transport.doorbell_watch import DOORBELL_RATE


@dataclass(frozen=True)
class ServedLink:
    """One link and the device configured for it: ``kind`` and ``keys`` as the registry takes them.

    ``timeout``: seconds for which requests wait while the device cannot be served. ``packed``: it offers packed rings.
    """

    layout: LinkLayout
    kind: str
    keys: Mapping[str, Any]
    timeout: float = 10.0
    packed: bool = False


@dataclass(frozen=True)
class Descriptors:
    """Files that go with an attachment: the region, the private state object, own doorbells, the guest's doorbells."""

    region: int
    state: int
    own: Sequence[int]
    frontend: Sequence[int]

    def flat(self) -> list[int]:
        return [self.region, self.state, *self.own, *self.frontend]

    @classmethod
    def of(cls, descriptors: Sequence[int]) -> Descriptors:
        """The inverse of ``flat``: both sides have the same number of vectors."""
        vectors = (len(descriptors) - 2) // 2
        return cls(descriptors[0], descriptors[1], descriptors[2 : 2 + vectors], descriptors[2 + vectors :])


@dataclass(frozen=True)
class Attachment:
    """The links of one guest that one back-end serves."""

    guest: str
    frontend_peer: int
    status_file: str
    trace_file: str | None
    links: Sequence[ServedLink]
    doorbell_rate: int = DOORBELL_RATE
    """Doorbells a second handled for each link."""
    confined: bool = True
    """Whether the process is to give up what it does not need."""

    def message(self) -> dict[str, Any]:
        """As it travels over the channel."""
        return asdict(self)

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Attachment:
        """The inverse of ``message``."""
        links = [ServedLink(**{**link, "layout": LinkLayout(**link["layout"])}) for link in message["links"]]
        return cls(**{key: value for key, value in message.items() if key in _PLAIN}, links=links)


_PLAIN = {field.name for field in fields(Attachment)} - {"links"}
