# SPDX-License-Identifier: MIT
"""The targets notice what they are there for: the corpus finds each of these errors, planted into the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What is changed before the corpus of a target is run. Each must end in the given words.
PLANTED = {
    "an unchecked queue index": (
        "header",
        """
        from ivshmem_virtio.transport.state_machine import StateMachine

        def select(self, value):
            self._now.selected = self._now.queues[value]
            self._registers.show_queue(self._now.selected)

        StateMachine._ACTIONS[0x1C] = select
        """,
        "Unexpected: IndexError",
    ),
    "a feature check that is left out": (
        "header",
        """
        from ivshmem_virtio.transport.negotiation import Negotiation

        Negotiation._acceptable = lambda self: True
        """,
        "AssertionError",
    ),
    "a device that writes where it may not": (
        "rings",
        """
        from fuzz import rings

        class Scribbler(rings.Rings):
            def open_device(self, **how):
                return Untidy(super().open_device(**how))

        class Untidy:
            def __init__(self, queue):
                self.queue = queue

            def __getattr__(self, name):
                return getattr(self.queue, name)

            def pop(self):
                chain = self.queue.pop()
                rings.WINDOW.store8(0x3FF, rings.WINDOW.load8(0x3FF) ^ 1)
                return chain

        rings.Rings = Scribbler
        """,
        "the window was changed where this side may not write",
    ),
    "a chain that is lost when a device is killed": (
        "rings",
        """
        from fuzz import both_sides, rings

        succeed = rings.Rings.succeed

        def forgetful(self, **how):
            if self.taken:
                both_sides.RECORDS.zero(self.taken_record(self.taken[0]), 8)
            succeed(self, **how)

        rings.Rings.succeed = forgetful
        """,
        "chains are to be served again",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_corpus_finds(name: str) -> None:
    target, change, words = PLANTED[name]
    lines = change.splitlines()
    program = "\n".join(line[8:] for line in lines) + f"\nfrom fuzz.__main__ import replay\nreplay({target!r}, [])\n"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert words in ended.stderr
