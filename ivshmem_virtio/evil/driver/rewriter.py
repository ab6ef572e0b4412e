# SPDX-License-Identifier: MIT
"""A second thread of a hostile guest: a process that writes to stretches of shared memory at random, at full speed.

Started by ``rewriting``: ``python -m ivshmem_virtio.evil.driver.rewriter FD SEED START:END ...``, offsets in bytes from
the start of the file. It ends when it is killed, or orphaned.
"""

from __future__ import annotations

import mmap
import os
import sys
from random import Random

AT_ONCE = 4096
EDGES = (b"\0", b"\1", b"\2", b"\3", b"\4", b"\xff", b"\x80")
WIDTHS = (1, 2, 4, 8, 16, 64)


def rewrite(memory: mmap.mmap, stretches: list[tuple[int, int]], dice: Random) -> None:
    """``AT_ONCE`` stores of 1 to 64 bytes: random ones, or one of the numbers that mean something in a ring."""
    random, noise = dice.random, dice.randbytes(AT_ONCE + 64)
    for number in range(AT_ONCE):
        start, end = stretches[int(random() * len(stretches))]
        width = WIDTHS[int(random() * len(WIDTHS))]
        place = start + int(random() * (end - start - width)) // width * width
        if random() < 0.5:
            memory[place : place + width] = noise[number : number + width]
        else:
            memory[place : place + width] = EDGES[int(random() * len(EDGES))].ljust(width, b"\0")


def main() -> None:
    """Rewrite until nobody wants it any more."""
    file, seed, *words = sys.argv[1:]
    stretches = [(int(start), int(end)) for start, _, end in (word.partition(":") for word in words)]
    memory = mmap.mmap(int(file), 0)
    dice = Random(int(seed))
    parent = os.getppid()
    while os.getppid() == parent:
        rewrite(memory, stretches, dice)


if __name__ == "__main__":
    main()
