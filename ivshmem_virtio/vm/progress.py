# SPDX-License-Identifier: MIT
"""One line on standard error for each step that may take seconds: a spinner on a terminal, plain text elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say ``what`` for as long as the block runs."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with console.status(escape(what)):
            yield
    else:
        console.print(f"{what} ...", markup=False, soft_wrap=True)
        yield
