# SPDX-License-Identifier: MIT
"""``type = "blk"``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr, field_validator, model_validator

from ivshmem_virtio.service.config_device import DeviceShape, DeviceTable
from ivshmem_virtio.service.config_fields import HostPath, QueueSize, Size
from ivshmem_virtio.service.config_placement import Poll, Processors

SECTOR = 512
SERIAL_BYTES = 20  # virtio 1.4, 5.2.6: the GET_ID buffer


class BlkConfig(DeviceTable):
    """A block device over an image file or a host block device, or over nothing."""

    default_window: ClassVar[int] = 16 << 20
    # Below the 120 seconds after which Linux reports tasks that wait for a disk.
    default_timeout: ClassVar[float] = 90
    least_pool: ClassVar[int] = 256 << 10

    type: Literal["blk"]
    backend: Literal["image", "null"] = "image"
    path: HostPath | None = None
    size: Size | None = None
    read_only: StrictBool = False
    direct: StrictBool = False
    aio: Literal["auto", "io_uring", "none"] = "auto"
    queues: Annotated[StrictInt, Field(ge=1, le=64)] = 1
    queue_size: QueueSize = 256
    serial: StrictStr | None = None
    poll: Poll = "adaptive"
    cpus: Processors = ()
    workers: Annotated[StrictInt, Field(ge=1, le=64)] = 1
    bytes_per_second: Annotated[StrictInt, Field(ge=1)] | None = None
    requests_per_second: Annotated[StrictInt, Field(ge=1)] | None = None
    delay_ms: Annotated[StrictInt, Field(ge=0, le=60_000)] = 0
    delay_seed: Annotated[StrictInt, Field(ge=0)] = 0

    @field_validator("serial")
    @classmethod
    def _serial(cls, value: str | None) -> str | None:
        if value is not None and not (value.isascii() and value.isprintable() and len(value) <= SERIAL_BYTES):
            raise ValueError(f"must be at most {SERIAL_BYTES} printable ASCII characters")
        return value

    @field_validator("size")
    @classmethod
    def _whole_sectors(cls, value: int | None) -> int | None:
        if value is not None and (value < 1 or value % SECTOR):
            raise ValueError(f"must be a multiple of {SECTOR} and not 0")
        return value

    @model_validator(mode="after")
    def _what_belongs_together(self) -> BlkConfig:
        if self.backend == "image" and self.path is None:
            raise ValueError('must have path, or backend = "null"')
        for key in ("path", "direct", "aio") if self.backend == "null" else ("size",):
            if key in self.model_fields_set:
                raise ValueError(f'must not have {key} with backend = "{self.backend}"')
        if self.workers > self.queues:
            raise ValueError(f"must not have more workers ({self.workers}) than queues ({self.queues})")
        return self

    @property
    def shape(self) -> DeviceShape:
        return DeviceShape(2, (self.queue_size,) * self.queues, 128)
