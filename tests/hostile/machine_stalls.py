# SPDX-License-Identifier: MIT
"""How long this machine keeps a process waiting that only wants to run: nobody else is to blame for that."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

NAP = 0.01


class Stalls:
    """``longest``: by how much a sleep was overslept at worst, seconds; known when the measurement is over."""

    longest = 0.0


@contextmanager
def stalls() -> Iterator[Stalls]:
    """Measure in a process of its own, as the ones that are waited for are."""
    found = Stalls()
    command = [sys.executable, "-m", "tests.hostile.machine_stalls"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield found
        finally:
            said, _ = process.communicate()
            found.longest = float(said)


def main() -> None:
    """Until standard input ends."""
    longest = 0.0
    while True:
        began = time.monotonic()
        ended, _, _ = select.select([sys.stdin], [], [], NAP)
        if ended:
            break
        longest = max(longest, time.monotonic() - began - NAP)
    print(longest)


if __name__ == "__main__":
    main()
