# SPDX-License-Identifier: MIT
"""How the processes of a service log: one line an event on standard error, for a terminal or the journal."""

from __future__ import annotations

import logging
import sys

from ivshmem_virtio.service.log_limit import LogLimit


def configure_logging(verbose: bool) -> None:
    """Info and above, or everything with ``verbose``; lines that repeat without end are left out."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(levelname).1s %(name)s: %(message)s",
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(LogLimit())
