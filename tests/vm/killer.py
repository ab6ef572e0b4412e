# SPDX-License-Identifier: MIT
"""Kills the back-end of a guest again and again, at random instants of a life that is long enough."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

from ivshmem_virtio.service.config import load_config
from tests.vm.served_guest import wait_for

LIFE_SECONDS = 2.1
"""Longer than a back-end is taken to be young, so that each is started again at once."""


def serving_pid(status: Path) -> int:
    """Process id of the back-end that serves a guest, by its status file."""
    return int(json.loads(status.read_text())["pid"])


def kill_again_and_again(config: Path, kills: int, chance: random.Random) -> list[float]:
    """The back-end of the first guest. When each was killed, in seconds since the epoch; the last successor serves."""
    loaded = load_config(config)
    status = loaded.status_file(loaded.guests[0])
    times = []
    for _ in range(kills):
        time.sleep(LIFE_SECONDS + chance.uniform(0, 0.3))
        pid = serving_pid(status)
        times.append(time.time())
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: serving_pid(status) != pid, "another back-end to serve")  # type: ignore[misc]
    return times
