# SPDX-License-Identifier: MIT
"""What is checked: each model in the sizes that hold, and each mutant in a size in which it must fail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Instance:
    """One model with the macros it is compiled with, written ``NAME`` or ``NAME=VALUE``."""

    model: str
    macros: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.model, *self.macros))


SHORT = (
    Instance("handshake", ("BACKEND_KILLS=1", "FRONTEND_KILLS=0", "REQUESTS=1")),
    Instance("handshake", ("BACKEND_KILLS=0", "FRONTEND_KILLS=1", "REQUESTS=1")),
    Instance("transactions"),
    Instance("resume"),
    Instance("records", ("KILLS=2", "REQUESTS=3")),
    Instance("standin", ("KILLS=1", "REQUESTS=2")),
)
"""A few seconds each."""

LONG = (
    Instance("handshake", ("BACKEND_KILLS=1", "FRONTEND_KILLS=1", "REQUESTS=1")),
    Instance("handshake", ("BACKEND_KILLS=2", "FRONTEND_KILLS=0", "REQUESTS=1")),
    Instance("transactions", ("KILLS=4",)),
    Instance("resume", ("KILLS=4", "IN_FLIGHT=3")),
    Instance("records", ("KILLS=3", "REQUESTS=4")),
    Instance("standin", ("KILLS=2", "REQUESTS=2")),
)
"""More crashes and requests, up to two minutes and some hundred megabytes each."""

MUTANTS = (
    Instance("handshake", ("NO_TIMER_FRONTEND", "BACKEND_KILLS=1", "FRONTEND_KILLS=0", "REQUESTS=1")),
    Instance("handshake", ("NO_TIMER_BACKEND", "BACKEND_KILLS=1", "FRONTEND_KILLS=0", "REQUESTS=1")),
    Instance("handshake", ("NO_EPOCH_TEST", "BACKEND_KILLS=1", "FRONTEND_KILLS=0", "REQUESTS=1")),
    Instance("handshake", ("NO_INCARNATION_TEST", "BACKEND_KILLS=0", "FRONTEND_KILLS=1", "REQUESTS=1")),
    Instance("transactions", ("CLEAR_WITHOUT_COMPARE",)),
    Instance("transactions", ("EPOCH_BEFORE_STATE",)),
    Instance("transactions", ("ABSENCE_COUNTS",)),
    Instance("resume", ("REDO_FIRST",)),
    Instance("resume", ("NO_FENCE_BACKEND",)),
    Instance("resume", ("NO_FENCE_FRONTEND",)),
    Instance("records", ("PUBLISH_BEFORE_COMMIT",)),
    Instance("records", ("FREE_BEFORE_PUBLISH",)),
    Instance("records", ("OLD_MARKS",)),
    Instance("standin", ("NO_OWNER", "KILLS=1", "REQUESTS=2")),
    Instance("standin", ("ABSENCE_FIRST", "KILLS=1", "REQUESTS=2")),
    Instance("standin", ("NO_KEPT_OWNER", "KILLS=1", "REQUESTS=2")),
    Instance("standin", ("STALE_STALL", "KILLS=1", "REQUESTS=2")),
)
"""Each leaves out one thing the protocol needs."""
