# SPDX-License-Identifier: MIT
"""``type = "net"``: where packets go."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictInt,
    field_validator,
    model_serializer,
    model_validator,
)

from ivshmem_virtio.service.config_device import DeviceShape, DeviceTable
from ivshmem_virtio.service.config_fields import HostPath, Interface, MacAddress, Name, QueueSize, Table, only_one_of
from ivshmem_virtio.service.config_placement import Poll, Processors

NET_CONTROL_QUEUE = 64
MOST_NET_QUEUES = 8
LEAST_NET_QUEUE = 32  # Linux stops a transmit queue for ever when it is below 2 + MAX_SKB_FRAGS = 19


class NetVia(Table):
    """Where packets go: a stream socket (as passt or QEMU speak it), a tap interface, or a switch of this service."""

    stream: HostPath | None = None
    listen: StrictBool = False
    tap: Interface | None = None
    switch: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_kind(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValueError('must be { stream = "PATH" }, { tap = "NAME" } or { switch = "NAME" }')
        kind = only_one_of(data, ("stream", "tap", "switch"))
        if "listen" in data and kind != "stream":
            raise ValueError("must not have listen without stream")
        return data

    @model_serializer(mode="wrap")
    def _only_what_applies(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        plain: dict[str, Any] = handler(self)
        if self.stream is None:
            plain.pop("listen", None)
        return plain


class NetConfig(DeviceTable):
    """A network interface; ``queues`` are pairs."""

    default_window: ClassVar[int] = 8 << 20
    least_pool: ClassVar[int] = 512 << 10

    type: Literal["net"]
    via: NetVia
    mac: MacAddress
    mtu: Annotated[StrictInt, Field(ge=68, le=65535)] | None = None
    queues: Annotated[StrictInt, Field(ge=1, le=MOST_NET_QUEUES)] = 1
    queue_size: QueueSize = 256
    workers: Annotated[StrictInt, Field(ge=1, le=MOST_NET_QUEUES)] = 1
    poll: Poll | None = None
    cpus: Processors | None = None

    @field_validator("queue_size")
    @classmethod
    def _enough_for_a_packet(cls, value: int) -> int:
        if value < LEAST_NET_QUEUE:
            raise ValueError(f"must be at least {LEAST_NET_QUEUE}: Linux needs 19 descriptors for one packet")
        return value

    @model_validator(mode="after")
    def _what_belongs_together(self) -> NetConfig:
        if self.queues > 1 and self.via.tap is None:
            raise ValueError(f"must not have more queues ({self.queues}) than 1 unless via is a tap")
        if self.workers > self.queues:
            raise ValueError(f"must not have more workers ({self.workers}) than queues ({self.queues})")
        return self

    @property
    def shape(self) -> DeviceShape:
        """Receive and transmit of each pair; with more than one, a control queue."""
        pairs = (self.queue_size, self.queue_size) * self.queues
        return DeviceShape(1, (*pairs, NET_CONTROL_QUEUE) if self.queues > 1 else pairs, 32)
