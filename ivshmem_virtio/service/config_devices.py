# SPDX-License-Identifier: MIT
"""``[[guest.device]]``: one model per device type, and what each needs to be laid out (its id, queues, configuration).

A shape repeats what the device class says, so that a plan needs no device; a test compares the two.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from ivshmem_virtio.errors import IvshmemVirtioError
from ivshmem_virtio.service.config_errors import ForeignDeviceUnusable
from ivshmem_virtio.service.config_fields import (
    LARGEST_QUEUE,
    DeviceName,
    Duration,
    HostPath,
    Interface,
    MacAddress,
    Name,
    QueueSize,
    Size,
    Table,
    only_one_of,
)
from ivshmem_virtio.service.size import is_power_of_two

NET_CONTROL_QUEUE = 64
MOST_NET_QUEUES = 8
LEAST_NET_QUEUE = 32  # Linux stops a transmit queue for ever when it is below 2 + MAX_SKB_FRAGS = 19
SECTOR = 512
POLL_WORDS = ("adaptive", "never", "always")
LONGEST_POLL = 1_000_000  # microseconds
SERIAL_BYTES = 20  # virtio 1.4, 5.2.6: the GET_ID buffer
CONSOLE_CONTROL_QUEUE = 32
CONSOLE_WORDS = ("pty", "stdio", "null")
CONSOLE_VIA = 'must be "pty", "stdio", "null", { socket = "PATH" }, { file = "PATH" } or { pty = "LINK" }'
PORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


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


def _poll(value: object) -> object:
    if isinstance(value, bool) or not (value in POLL_WORDS or (isinstance(value, int) and 0 <= value <= LONGEST_POLL)):
        raise ValueError(f'must be "adaptive", "never", "always" or microseconds from 0 to {LONGEST_POLL}')
    return value


def _processors(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(value)) < len(value):
        raise ValueError("must name each processor once")
    return value


Poll = Annotated[StrictStr | StrictInt, BeforeValidator(_poll)]
Processors = Annotated[tuple[Annotated[StrictInt, Field(ge=0, le=4095)], ...], AfterValidator(_processors)]


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


class ConsoleEnd(Table):
    """An end with a path: a unix socket that is listened on, a file that is appended to, a link to the terminal."""

    socket: HostPath | None = None
    file: HostPath | None = None
    pty: HostPath | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_kind(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValueError(CONSOLE_VIA)
        only_one_of(data, ("socket", "file", "pty"))
        return data


def _console_word(value: str) -> str:
    if value not in CONSOLE_WORDS:
        raise ValueError(CONSOLE_VIA)
    return value


ConsoleVia = Annotated[
    Annotated[StrictStr, AfterValidator(_console_word), Tag("word")] | Annotated[ConsoleEnd, Tag("table")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "table"),
]
"""Where a console or port ends on the host."""


class PortConfig(Table):
    """One more port of a console device: a byte stream with a name (virtio 1.4, 5.3.6.2)."""

    name: StrictStr
    via: ConsoleVia

    @field_validator("name")
    @classmethod
    def _port_name(cls, value: str) -> str:
        if PORT_NAME.fullmatch(value) is None:
            raise ValueError('must be 1 to 64 letters, digits, "-", "_" or "."; a guest makes it a file name')
        return value


class ConsoleConfig(DeviceTable):
    """A console, and byte-stream ports beside it."""

    default_window: ClassVar[int] = 1 << 20
    least_pool: ClassVar[int] = 64 << 10

    type: Literal["console"]
    via: ConsoleVia = "pty"
    ports: Annotated[tuple[PortConfig, ...], Field(max_length=30)] = ()
    columns: Annotated[StrictInt, Field(ge=1, le=65535)] = 80
    rows: Annotated[StrictInt, Field(ge=1, le=65535)] = 25
    queue_size: QueueSize = 64

    @property
    def shape(self) -> DeviceShape:
        """Receive and transmit of the console; with ports, two control queues and a pair for each port."""
        pair = (self.queue_size, self.queue_size)
        control = (CONSOLE_CONTROL_QUEUE, CONSOLE_CONTROL_QUEUE)
        return DeviceShape(3, (*pair, *control, *pair * len(self.ports)) if self.ports else pair, 12)

    @property
    def keys(self) -> dict[str, Any]:
        """Ports as pairs of name and end, which is how the class takes them."""
        plain = super().keys
        return {**plain, "ports": [[port["name"], port["via"]] for port in plain["ports"]]}

    @property
    def ends(self) -> tuple[str | ConsoleEnd, ...]:
        """The host's end of the console, and of every port."""
        return (self.via, *(port.via for port in self.ports))


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


class RngConfig(DeviceTable):
    """An entropy source."""

    default_window: ClassVar[int] = 256 << 10
    least_pool: ClassVar[int] = 16 << 10
    fills_queues: ClassVar[bool] = False

    type: Literal["rng"]
    source: HostPath = Path("/dev/urandom")
    bytes_per_second: Annotated[StrictInt, Field(ge=10)] | None = None
    queue_size: QueueSize = 64

    @property
    def shape(self) -> DeviceShape:
        return DeviceShape(4, (self.queue_size,), 0)


def _module_and_class(value: str) -> str:
    module, _, name = value.partition(":")
    if not (name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError('must be "module:Class"')
    return value


class ForeignConfig(DeviceTable):
    """A device of somebody else: ``type = "module:Class"``, every further key goes to the class."""

    model_config = ConfigDict(extra="allow")
    default_window: ClassVar[int] = 1 << 20
    least_pool: ClassVar[int] = 16 << 10

    type: Annotated[StrictStr, AfterValidator(_module_and_class)]

    @property
    def shape(self) -> DeviceShape:
        """Asked of the class itself: nobody else knows. Raises ForeignDeviceUnusable."""
        from ivshmem_virtio.devices import registry

        where = f'device "{self.name}": type = "{self.type}"'
        try:
            device = registry.create(self.type, self.name, self.window or self.default_window, self.keys)
            shape = DeviceShape(device.device_id, tuple(device.queue_sizes), len(device.config))
        except IvshmemVirtioError as error:
            raise ForeignDeviceUnusable(f"{where}: {error}") from error
        except Exception as error:
            # Code of somebody else: whatever it raises is about this one key of the file.
            raise ForeignDeviceUnusable(f"{where}: {type(error).__name__}: {error}") from error
        if not all(is_power_of_two(size) and size <= LARGEST_QUEUE for size in shape.queue_sizes):
            raise ForeignDeviceUnusable(f"{where}: queue sizes {shape.queue_sizes} must be powers of two up to 32768")
        return shape


def _tag(data: Any) -> str | None:
    kind = data.get("type") if isinstance(data, dict) else getattr(data, "type", None)
    if not isinstance(kind, str):
        return None
    return "foreign" if ":" in kind else kind


DeviceConfig = Annotated[
    Annotated[BlkConfig, Tag("blk")]
    | Annotated[ConsoleConfig, Tag("console")]
    | Annotated[NetConfig, Tag("net")]
    | Annotated[RngConfig, Tag("rng")]
    | Annotated[ForeignConfig, Tag("foreign")],
    Discriminator(_tag),
]
DEVICE_TABLES: dict[str, type[DeviceTable]] = {
    "blk": BlkConfig,
    "console": ConsoleConfig,
    "net": NetConfig,
    "rng": RngConfig,
    "foreign": ForeignConfig,
}
