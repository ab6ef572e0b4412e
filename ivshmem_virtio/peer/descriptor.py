# SPDX-License-Identifier: MIT
"""A file descriptor with several users, closed with the last of them."""

from __future__ import annotations

import os
import weakref


class SharedDescriptor:
    """Owns ``number`` until nobody refers to this object any more.

    An eventfd may be in the queue of a slow client after its peer has left; it must stay open, and its number must not
    be used for anything else, until then.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        weakref.finalize(self, os.close, number)

    @classmethod
    def borrowed(cls, number: int) -> SharedDescriptor:
        """A descriptor for the same open file, so that ``number`` may be closed at any time."""
        return cls(os.dup(number))

    @classmethod
    def eventfd(cls) -> SharedDescriptor:
        """A new non-blocking eventfd with count 0."""
        return cls(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
