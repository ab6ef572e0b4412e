# SPDX-License-Identifier: MIT
"""What can keep a benchmark from giving a figure: one class for each kind."""

from __future__ import annotations

from ivshmem_virtio.errors import IvshmemVirtioError


class BenchError(IvshmemVirtioError):
    """Root of everything the benchmarks raise on purpose."""


class TooFewProcessors(BenchError):
    """Load and device need a processor each."""


class PeerNotReady(BenchError):
    """A program to compare with ended, or did not open its socket in time."""


class UnknownSuite(BenchError):
    """There is no suite of this name."""


class PlotsUnavailable(BenchError):
    """The library that draws is not installed."""


class RequestsFailed(BenchError):
    """A device answered requests of the load with errors, or not at all: its figure would mean nothing."""
