# SPDX-License-Identifier: MIT
"""What every ``[[guest.device]]`` has, and what a device needs to be laid out: its id, queues, configuration.

A shape repeats what the device class says, so that a plan needs no device; a test compares the two.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from ivshmem_virtio.service.config_fields import DeviceName, Duration, Size, Table


@dataclass(frozen=True)
class DeviceShape:
    """What a device needs in its window: ``config_room`` is an upper bound, in bytes, of its configuration space."""

    device_id: int
    queue_sizes: tuple[int, ...]
    config_room: int


class DeviceTable(Table):
    """What every device type has."""

    default_window: ClassVar[int]
    default_timeout: ClassVar[float] = 10
    """Seconds."""
    least_pool: ClassVar[int]
    """Bytes behind the rings without which a single request, or a single packet, does not fit."""
    fills_queues: ClassVar[bool] = True
    """Whether drivers keep a buffer in every descriptor."""

    type: str
    name: DeviceName
    window: Size | None = None
    timeout: Duration | None = None
    ring: Literal["auto", "split", "packed"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _name_after_type(cls, data: Any) -> Any:
        if isinstance(data, dict) and "name" not in data and isinstance(data.get("type"), str):
            return {**data, "name": data["type"].rpartition(":")[2].lower()[:16]}
        return data

    @property
    @abstractmethod
    def shape(self) -> DeviceShape:
        """Device id, queues and configuration; raises ForeignDeviceUnusable for a foreign device."""

    @property
    def absence(self) -> float:
        """Seconds for which requests wait for a device that cannot be served; afterwards they get errors."""
        return self.default_timeout if self.timeout is None else self.timeout

    @property
    def packed(self) -> bool:
        """Whether packed rings are offered. ``auto`` does not: nothing measured here says that they are faster."""
        return self.ring == "packed"

    @property
    def keys(self) -> dict[str, Any]:
        """The keys a device class takes, as JSON would hold them: paths as text, what is not set left out."""
        return self.model_dump(mode="json", exclude={"type", "name", "window", "timeout", "ring"}, exclude_none=True)
