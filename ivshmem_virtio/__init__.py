# SPDX-License-Identifier: MIT
"""Virtio devices inside one static window of shared memory."""
