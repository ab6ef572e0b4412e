# SPDX-License-Identifier: MIT
"""Which links a region has, for a server that was not told: from the directory, believed as little as possible.

Everything here was written by peers of the region. A lie can at most make the server write 0 to some word of the region
after a peer has left, which any peer could do itself.
"""

from __future__ import annotations

import logging
import os
import struct

from ivshmem_virtio.link.directory import read_directory
from ivshmem_virtio.link.directory_errors import DirectoryAbsent, DirectoryError
from ivshmem_virtio.link.layout import LINE_SIZE, FrontendLine, Header, LinkLayout
from ivshmem_virtio.peer.wire import LARGEST_ID

log = logging.getLogger(__name__)

UNITS = struct.Struct("<H")
WORD = struct.Struct("<I")


class UnconfiguredLinks:
    """A LinkSource for IvshmemServer that reads the region ``memory`` anew each time, without mapping it."""

    def __init__(self, memory: int) -> None:
        self._memory = memory

    def __call__(self) -> list[tuple[LinkLayout, int | None]]:
        try:
            layouts = read_directory(self._memory, self._rejected)
        except DirectoryAbsent:
            return []
        except (DirectoryError, OSError) as error:
            log.warning("directory ignored: %s", error)
            return []
        return [(layout, self._frontend(layout)) for layout in layouts]

    @staticmethod
    def _rejected(_number: int, error: DirectoryError) -> None:
        log.warning("%s", error)

    def _frontend(self, layout: LinkLayout) -> int | None:
        """The peer id in the front-end's line of the extension; None where there is none (revision 1)."""
        lines = self._number(UNITS, layout, Header.EXT_OFFSET)
        claim = self._number(WORD, layout, lines * LINE_SIZE + LINE_SIZE + FrontendLine.PEER_PLUS_ONE) if lines else 0
        return claim - 1 if 1 <= claim <= LARGEST_ID + 1 else None

    def _number(self, kind: struct.Struct, layout: LinkLayout, offset: int) -> int:
        """A number at an offset in the window; 0 where it lies outside."""
        if offset + kind.size > layout.rw_size:
            return 0
        data = os.pread(self._memory, kind.size, layout.window_offset + offset)
        return int(kind.unpack(data)[0]) if len(data) == kind.size else 0
