# SPDX-License-Identifier: MIT
"""``python -m ivshmem_virtio`` is the console script."""

from ivshmem_virtio.cli.main import main

if __name__ == "__main__":
    main()
