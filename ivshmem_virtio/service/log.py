# SPDX-License-Identifier: MIT
"""How the processes of a service log: one line an event on standard error, for a terminal or the journal."""

from __future__ import annotations

import logging
import sys


def configure_logging(verbose: bool) -> None:
    """Info and above, or everything with ``verbose``."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(levelname).1s %(name)s: %(message)s",
    )
