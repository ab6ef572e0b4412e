# SPDX-License-Identifier: MIT
"""A synchronous face of the qemu.qmp library: each guest has a monitor of its own and an event loop that runs only
while somebody asks it something."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

from qemu.qmp import ExecuteError, QMPClient, QMPError

from ivshmem_virtio.vm.errors import QemuFailed


class Monitor:
    """QEMU's machine protocol over an open socket."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        """Negotiate with QEMU on ``connection``, which this object owns. Raises QemuFailed."""
        self._loop = asyncio.new_event_loop()
        self._client = QMPClient(name)
        try:
            self._loop.run_until_complete(asyncio.wait_for(self._client.connect(connection), 60))
        except (QMPError, TimeoutError, OSError) as error:
            self._loop.close()
            connection.close()
            raise QemuFailed(f"QEMU does not answer on its monitor: {error}") from error

    def execute(self, command: str, arguments: Mapping[str, object] | None = None, timeout: float = 60) -> object:
        """What QEMU returns for a QMP ``command``. Raises QemuFailed when it refuses or is gone."""
        request = self._client.execute(command, dict(arguments) if arguments else None)
        try:
            return self._loop.run_until_complete(asyncio.wait_for(request, timeout))
        except ExecuteError as error:
            raise QemuFailed(f"QEMU refuses {command}: {error}") from error
        except (QMPError, TimeoutError, EOFError, OSError) as error:
            raise QemuFailed(f"QEMU's monitor is gone or silent during {command}: {error!r}") from error

    def close(self) -> None:
        """End the session; QEMU goes on running."""
        try:
            self._loop.run_until_complete(asyncio.wait_for(self._client.disconnect(), 10))
        except (QMPError, TimeoutError, EOFError, OSError):
            # QEMU has gone first: nothing is left to take leave of.
            pass
        finally:
            self._loop.close()
