# SPDX-License-Identifier: MIT
"""One block request, from the 16 bytes of its header to its status byte (virtio 1.4, 5.2.6).

Framing says nothing here: the header is the first 16 readable bytes and the status is the last writable byte, however
the driver cut them into descriptors.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable
from enum import IntEnum

from ivshmem_virtio.core import Chain
from ivshmem_virtio.devices.blk_image import SECTOR, Image
from ivshmem_virtio.devices.blk_null import NullImage

HEADER = struct.Struct("<IIQ")
RANGE = struct.Struct("<QII")
ID_LENGTH = 20
UNMAP = 1

MAX_DISCARD_SECTORS = 1 << 22
MAX_DISCARD_SEGMENTS = 64
# Zeroes may have to be written out one by one: small enough that no request holds up the others for long.
MAX_ZEROES_SECTORS = (16 << 20) // SECTOR
MAX_ZEROES_SEGMENTS = 8

_log = logging.getLogger("ivshmem_virtio.device.blk")


class RequestType(IntEnum):
    """Commands served; everything else is answered UNSUPP."""

    IN = 0
    OUT = 1
    FLUSH = 4
    GET_ID = 8
    DISCARD = 11
    WRITE_ZEROES = 13


class Status(IntEnum):
    """The status byte."""

    OK = 0
    IOERR = 1
    UNSUPP = 2


class RequestRefused(Exception):
    """The request is not carried out; the driver gets ``status``. Never leaves this module."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


def answer(chain: Chain, filled: int, room: int, status: Status) -> int:
    """Everything before the status byte counts as written, so what the request left untouched becomes zeroes."""
    if filled < room:
        chain.write(filled, bytes(room - filled))
    chain.write(room, bytes([status]))
    return room + 1


class RequestServer:
    """Serves chains from one image. ``writethrough`` makes each write stable before it is reported done."""

    def __init__(self, name: str, image: Image | NullImage, serial: bytes, window: int) -> None:
        self.name = name
        self.image = image
        self.serial = serial.ljust(ID_LENGTH, b"\0")[:ID_LENGTH]
        self.window = window
        self.writethrough = False
        self.errors = 0
        self._serve: dict[int, Callable[[Chain, int], int]] = {
            RequestType.IN: self._read,
            RequestType.OUT: self._write,
            RequestType.FLUSH: self._flush,
            RequestType.GET_ID: self._get_id,
            RequestType.DISCARD: self._discard,
            RequestType.WRITE_ZEROES: self._write_zeroes,
        }

    def serve(self, chain: Chain) -> int:
        """Do what the chain asks for and answer in it; returns the bytes written, 0 without room for an answer."""
        room = chain.writable_length - 1
        if room < 0:
            return 0
        if chain.readable_length > self.window or room > self.window:
            # More bytes than the window has: its descriptors overlap. Not worth the time to carry out, or to fill.
            chain.write(room, bytes([Status.IOERR]))
            return 0
        try:
            filled = self._carry_out(chain)
            status = Status.OK
        except RequestRefused as refusal:
            filled, status = 0, refusal.status
        except OSError as error:
            self._report(error)
            filled, status = 0, Status.IOERR
        return answer(chain, filled, room, status)

    def fail(self, chain: Chain, error: int) -> int:
        """Answer for a request that the host refused to carry out with this error number."""
        self._report(OSError(error, os.strerror(error)))
        return answer(chain, 0, chain.writable_length - 1, Status.IOERR)

    def _carry_out(self, chain: Chain) -> int:
        if chain.readable_length < HEADER.size:
            raise RequestRefused(Status.IOERR)
        kind, _, sector = HEADER.unpack(chain.read(0, HEADER.size))
        serve = self._serve.get(kind)
        if serve is None:
            raise RequestRefused(Status.UNSUPP)
        return serve(chain, sector)

    def _report(self, error: OSError) -> None:
        self.errors += 1
        if self.errors & (self.errors - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: a dying disk must not flood the log
            _log.error("%s: %s: %s (error %d)", self.name, self.image.path, error.strerror or error, self.errors)

    def _check_range(self, sector: int, length: int) -> int:
        """Byte offset of a range that lies inside the capacity."""
        offset = sector * SECTOR  # Python integers do not overflow
        if length % SECTOR or offset + length > self.image.length:
            raise RequestRefused(Status.IOERR)
        return offset

    def _check_writable(self, otherwise: Status) -> None:
        if self.image.read_only:
            raise RequestRefused(otherwise)

    def _make_stable(self) -> None:
        if self.writethrough:
            self.image.flush()

    def _read(self, chain: Chain, sector: int) -> int:
        length = chain.writable_length - 1
        offset = self._check_range(sector, length)
        self.image.read(chain.writable_views(0, length), offset)
        return length

    def _write(self, chain: Chain, sector: int) -> int:
        self._check_writable(Status.IOERR)
        length = chain.readable_length - HEADER.size
        offset = self._check_range(sector, length)
        self.image.write(chain.readable_views(HEADER.size, length), offset)
        self._make_stable()
        return 0

    def _flush(self, chain: Chain, sector: int) -> int:
        if not self.image.read_only:
            self.image.flush()
        return 0

    def _get_id(self, chain: Chain, sector: int) -> int:
        length = min(ID_LENGTH, chain.writable_length - 1)
        chain.write(0, self.serial[:length])
        return length

    def _ranges(self, chain: Chain, most: int, most_sectors: int, allowed_flags: int) -> list[tuple[int, int, int]]:
        """(offset, length, flags) of every segment, all of them checked before any is acted on."""
        length = chain.readable_length - HEADER.size
        if length == 0 or length % RANGE.size or length > most * RANGE.size:
            raise RequestRefused(Status.IOERR)
        segments = list(RANGE.iter_unpack(chain.read(HEADER.size, length)))
        if any(flags & ~allowed_flags for _, _, flags in segments):
            raise RequestRefused(Status.UNSUPP)
        if any(sectors > most_sectors for _, sectors, _ in segments):
            raise RequestRefused(Status.IOERR)
        return [(self._check_range(first, n * SECTOR), n * SECTOR, flags) for first, n, flags in segments]

    def _discard(self, chain: Chain, sector: int) -> int:
        self._check_writable(Status.UNSUPP)
        for offset, length, _ in self._ranges(chain, MAX_DISCARD_SEGMENTS, MAX_DISCARD_SECTORS, 0):
            if length:
                self.image.discard(offset, length)
        return 0

    def _write_zeroes(self, chain: Chain, sector: int) -> int:
        self._check_writable(Status.UNSUPP)
        for offset, length, flags in self._ranges(chain, MAX_ZEROES_SEGMENTS, MAX_ZEROES_SECTORS, UNMAP):
            if length:
                self.image.write_zeroes(offset, length, unmap=bool(flags & UNMAP))
        self._make_stable()
        return 0
