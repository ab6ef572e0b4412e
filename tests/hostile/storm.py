# SPDX-License-Identifier: MIT
"""A process that does one thing at full speed: ring eventfds (``FD ...``), or nothing useful (no argument).

Both are one Python process that never sleeps; what differs is only whom the work falls on.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Until it is killed or orphaned."""
    descriptors = [int(word) for word in sys.argv[1:]]
    parent = os.getppid()
    while os.getppid() == parent:
        for _ in range(1000):
            for descriptor in descriptors:
                os.eventfd_write(descriptor, 1)


if __name__ == "__main__":
    main()
