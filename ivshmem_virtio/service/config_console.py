# SPDX-License-Identifier: MIT
"""``type = "console"``: where it and its ports end on the host."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, StrictInt, StrictStr, Tag, field_validator, model_validator

from ivshmem_virtio.service.config_device import DeviceShape, DeviceTable
from ivshmem_virtio.service.config_fields import HostPath, QueueSize, Table, only_one_of

CONSOLE_CONTROL_QUEUE = 32
CONSOLE_WORDS = ("pty", "stdio", "null")
CONSOLE_VIA = 'must be "pty", "stdio", "null", { socket = "PATH" }, { file = "PATH" } or { pty = "LINK" }'
PORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


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
