# SPDX-License-Identifier: MIT
"""What is said to a vault: SEQPACKET messages as on a back-end's channel (channel.py), with their own version.

| message | who may | answer |
|---|---|---|
| ``look`` | same user | ``keeper`` (its pid and pidfd, or null), then ``files`` until ``more`` is false |
| ``take`` | same user | ``granted`` once there is no keeper, at once or later; the asker is the keeper then |
| ``put``: names, with descriptors | the keeper | ``done`` |
| ``drop``: names | the keeper | ``done`` |
| ``end`` | the keeper | ``done`` with a pidfd, and the vault ends |

A process that one of the descriptors is about (a back-end) is turned away. The connection on which the vault was
started is the first keeper's. A keeper is gone when its connection is closed.
"""

from __future__ import annotations

import socket
import struct

VAULT_VERSION = 1
FILES_AT_ONCE = 64
"""Descriptors in one message: less than Linux passes (253), and than unprivileged users may have on the way."""
ANSWER_SECONDS = 10.0
CREDENTIALS = struct.Struct("iII")


def credentials(stream: socket.socket) -> tuple[int, int]:
    """Process id and user id at the other end of a unix socket, as they were when it connected."""
    pid, user, _ = CREDENTIALS.unpack(stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return pid, user
