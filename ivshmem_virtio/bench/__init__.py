# SPDX-License-Identifier: MIT
"""Benchmarks: every figure beside that of a peer, taken in turns on the same machine with the same load."""
