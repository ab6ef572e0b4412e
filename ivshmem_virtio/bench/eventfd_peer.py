# SPDX-License-Identifier: MIT
"""``python -m ivshmem_virtio.bench.eventfd_peer ASKED ANSWERED SPINNING READY``: answers one eventfd with another."""

from __future__ import annotations

import sys
from pathlib import Path

from ivshmem_virtio.bench.generator import eventfd_answer


def main() -> None:
    """Serve the two descriptors until ended, or until nothing came for long."""
    asked, answered, spinning, ready = sys.argv[1:]
    Path(ready).touch()
    eventfd_answer(int(asked), int(answered), spinning=spinning == "1")


if __name__ == "__main__":
    main()
