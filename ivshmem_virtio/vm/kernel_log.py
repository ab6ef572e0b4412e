# SPDX-License-Identifier: MIT
"""Finds the lines of a kernel log by which a kernel says that something is broken."""

from __future__ import annotations

import re

_TROUBLE = re.compile(
    r"WARNING: |BUG[: ]|\bOops\b|Call Trace|general protection fault|Kernel panic|unable to handle|"
    r"\bstall|soft lockup|hard LOCKUP|blocked for more than|hung_task|"
    r"refcount_t|use-after-free|double free|memory leak|\bleaked\b|kmemleak|"
    r"DMA-API|swiotlb buffer is full|nobody cared|scheduling while atomic|sleeping function called|"
    r"possible circular locking|list_(?:add|del) corruption|bad page|Bad page|I/O error|EXT4-fs error|guest: modprobe"
)
# Advice that kernels print on healthy boots.
_HARMLESS = re.compile(
    r"kmemleak: (?:Kernel memory leak detector initialized|Automatic memory scanning thread started)|"
    r"report a bug|Spectre|RETBleed|MDS|L1TF|TAA|MMIO Stale Data"
)


def trouble(log: str) -> list[str]:
    """The lines of ``log`` that tell of a warning, bug, stall, leak or I/O error; empty for a healthy kernel."""
    return [line for line in log.splitlines() if _TROUBLE.search(line) and not _HARMLESS.search(line)]
