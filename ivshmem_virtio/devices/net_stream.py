# SPDX-License-Identifier: MIT
"""Frames over a unix stream socket, each after its length in four big-endian bytes.

passt speaks this, and so does QEMU's ``-netdev stream``.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
import struct
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Sequence

from ivshmem_virtio.core import Chain
from ivshmem_virtio.devices.net_frame_via import FrameVia
from ivshmem_virtio.devices.net_header import (
    ETHERNET_HEADER,
    HEADER_SIZE,
    LONGEST_FRAME,
    PLAIN_HEADER,
    check_transmitted,
)
from ivshmem_virtio.devices.net_stream_output import StreamOutput
from ivshmem_virtio.devices.net_via import Port, ViaError
from ivshmem_virtio.devices.resource import Access, Resource

FIRST_RETRY = 0.1
LONGEST_RETRY = 2.0
"""Seconds between attempts to connect: quick at first, for a peer that restarts."""
OUTPUT_LIMIT = 1 << 16
"""Bytes waiting for the peer from which on frames stay in the guest's ring."""

_LENGTH = struct.Struct(">I")
_CHUNK = 1 << 17


class StreamVia(FrameVia):
    """One peer at ``path``: we connect, again and again, or ``listen`` for it. The link is up while it is connected.

    The protocol carries no offload header, so none is offered.
    """

    def __init__(self, path: str, *, listen: bool = False) -> None:
        super().__init__()
        self.path = path
        self.listen = listen
        self._log = logging.getLogger("ivshmem_virtio.net.stream")
        self._listener: socket.socket | None = None
        self._socket: socket.socket | None = None
        self._retry: TimerHandle | None = None
        self._delay = FIRST_RETRY
        self._input = b""
        self._output = StreamOutput()
        self._reading = self._writing = False

    @property
    def ready(self) -> bool:
        return len(self._output) < OUTPUT_LIMIT

    # -- connection ---------------------------------------------------------------------------------------------------

    @property
    def resources(self) -> Sequence[Resource]:
        """The socket."""
        return [Resource(self.path, Access.LISTEN if self.listen else Access.CONNECT)]

    def open(self, loop: AbstractEventLoop, port: Port) -> None:
        self._loop, self._port = loop, port
        port.core.waiting = True
        if self.listen:
            self._listener = listener_at(self.path)
            loop.add_reader(self._listener, self._accept)
        else:
            self._connect()

    def close(self) -> None:
        self._disconnect()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._listener is not None and self._loop is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            os.unlink(self.path)
        self._loop = self._port = None

    def _connect(self) -> None:
        assert self._loop is not None
        self._retry = None
        attempt = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            attempt.connect(self.path)
        except OSError as error:
            attempt.close()
            if error.errno is None:
                raise ViaError(f"stream {self.path!r}: {error}") from error
            self._retry_later(error.strerror or str(error))
        else:
            self._connected(attempt)

    def _retry_later(self, reason: str) -> None:
        assert self._loop is not None
        if self._delay == FIRST_RETRY:
            self._log.info("%s: not connected (%s); trying again until it is", self.path, reason)
        self._retry = self._loop.call_later(self._delay, self._connect)
        self._delay = min(2 * self._delay, LONGEST_RETRY)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            peer, _ = self._listener.accept()
        except OSError as error:
            self._log.warning("%s: accept failed: %s", self.path, error.strerror)
            return
        peer.setblocking(False)
        if self._socket is not None:
            self._log.warning("%s: a second peer was refused; one is connected", self.path)
            peer.close()
            return
        self._connected(peer)

    def _connected(self, peer: socket.socket) -> None:
        assert self._port is not None
        self._log.info("%s: connected", self.path)
        self._socket = peer
        self._delay = FIRST_RETRY
        self._read_on()
        self._port.link_changed(True)

    def _lost(self, reason: str) -> None:
        assert self._port is not None
        self._log.warning("%s: connection lost: %s", self.path, reason)
        self._port.core.counters.connection_losses += 1
        self._disconnect()
        if not self.listen:
            self._retry_later(reason)
        self._port.transmit_again()

    def _disconnect(self) -> None:
        if self._socket is None:
            return
        assert self._loop is not None
        assert self._port is not None
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._socket = None
        self._reading = self._writing = False
        self._input = b""
        self._output.clear()
        self._port.link_changed(False)

    # -- from the peer ------------------------------------------------------------------------------------------------

    def _read_on(self) -> None:
        if not self._reading and self._socket is not None and self._loop is not None:
            self._reading = True
            self._loop.add_reader(self._socket, self._readable)

    def _read_off(self) -> None:
        if self._reading and self._socket is not None and self._loop is not None:
            self._reading = False
            self._loop.remove_reader(self._socket)

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error.strerror or str(error))
            return
        if not data:
            self._lost("closed by the peer")
            return
        self._input += data
        self._parse()

    def _parse(self) -> None:
        """Deliver the complete frames of the input; stop reading while the guest has no buffer for the next one."""
        assert self._port is not None
        data, place = memoryview(self._input), 0
        taken = True
        while taken and len(data) - place >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, place)
            if length > LONGEST_FRAME:
                self._lost(f"frame of {length} bytes announced, longest is {LONGEST_FRAME}; the framing is lost")
                break
            end = place + _LENGTH.size + length
            if end > len(data):
                break
            taken = self._deliver(data[place + _LENGTH.size : end])
            if taken:
                place = end
        self._port.core.flush()
        if self._socket is None:
            return
        self._input = self._input[place:]
        if taken:
            self._read_on()
        else:
            self._read_off()

    def _deliver(self, frame: memoryview) -> bool:
        assert self._port is not None
        if len(frame) < ETHERNET_HEADER:
            self._port.core.counters.receive_malformed += 1
            return True
        return self._port.core.deliver(PLAIN_HEADER, frame)

    def resume(self) -> None:
        if not self._reading and self._socket is not None:
            self._parse()

    # -- to the peer --------------------------------------------------------------------------------------------------

    def transmit(self, chain: Chain) -> bool:
        assert self._port is not None
        length = chain.readable_length - HEADER_SIZE
        if check_transmitted(chain.read(0, HEADER_SIZE), length, 0) is None:
            self._port.core.counters.transmit_malformed += 1
            return False
        self._output.add(chain.read(HEADER_SIZE, length))
        return True

    def flush(self) -> None:
        if not self._writing:
            self._send()

    def _send(self) -> None:
        """Send what the socket takes; the rest goes when it is writable again."""
        if self._socket is None or self._loop is None:
            return
        try:
            self._output.send(self._socket)
        except BlockingIOError:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._socket, self._writable)
        except OSError as error:
            self._lost(error.strerror or str(error))

    def _writable(self) -> None:
        assert self._loop is not None
        assert self._port is not None
        was_ready = self.ready
        self._send()
        if self._socket is not None and not self._output:
            self._writing = False
            self._loop.remove_writer(self._socket)
        if self.ready and not was_ready:
            self._port.transmit_again()


def listener_at(path: str) -> socket.socket:
    """A socket that listens at ``path``, in the place of one nobody listens on any more; raises ViaError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _clear_stale(path)
        listener.bind(path)
        listener.listen(1)
    except OSError as error:
        listener.close()
        raise ViaError(f"stream {path!r}: cannot listen: {error.strerror or error}") from error
    except ViaError:
        listener.close()
        raise
    return listener


def _clear_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ViaError(f"stream {path!r}: exists and is not a socket; remove it or choose another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        status = probe.connect_ex(path)
    if status != errno.ECONNREFUSED:
        raise ViaError(f"stream {path!r}: somebody listens there already")
    os.unlink(path)
