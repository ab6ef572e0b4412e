# SPDX-License-Identifier: MIT
"""From what a configuration says about the host side of a console port to the sink that does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ivshmem_virtio.devices.console_file import FileSink
from ivshmem_virtio.devices.console_pty import PtySink
from ivshmem_virtio.devices.console_sink import NullSink, Sink, SinkUnusable
from ivshmem_virtio.devices.console_socket import SocketSink
from ivshmem_virtio.devices.console_stdio import StdioSink

SinkSpec = str | Mapping[str, str]

_PLAIN: dict[str, Callable[[bool], Sink]] = {
    "pty": lambda history: PtySink(history=history),
    "stdio": lambda history: StdioSink(history=history),
    "null": lambda history: NullSink(history=history),
}
_WITH_PATH: dict[str, Callable[[str, bool], Sink]] = {
    "pty": lambda path, history: PtySink(path, history=history),
    "socket": lambda path, history: SocketSink(path, history=history),
    "file": lambda path, history: FileSink(path, history=history),
}


def make_sink(spec: SinkSpec, *, history: bool) -> Sink:
    """The sink of one port; raises SinkUnusable for a specification that names none."""
    if isinstance(spec, str):
        if spec in _PLAIN:
            return _PLAIN[spec](history)
    elif len(spec) == 1:
        ((kind, path),) = spec.items()
        if kind in _WITH_PATH:
            return _WITH_PATH[kind](str(path), history)
    raise SinkUnusable(
        f'console via {spec!r}: it is one of "pty", "stdio", "null", {{ pty = "LINK" }}, {{ socket = "PATH" }}, '
        '{ file = "PATH" }'
    )
