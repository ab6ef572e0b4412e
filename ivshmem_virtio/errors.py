# SPDX-License-Identifier: MIT
"""Every error this package raises on purpose, one class per kind of violation.

The message of each names the offending value and the rule or remedy in one line: the command line prints nothing else.
"""


class IvshmemVirtioError(Exception):
    """Root of the tree: catch this to tell our own findings from programming errors."""


class OutsideWindow(IvshmemVirtioError):
    """An offset and length do not lie inside the window they were used on."""


class RingViolation(IvshmemVirtioError):
    """The other side of a virtqueue broke a rule of the ring (virtio 1.4, 2.7 and 2.8)."""
