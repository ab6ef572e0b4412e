# SPDX-License-Identifier: MIT
"""A driver that is hostile on purpose: named scenarios on a raw window, the same for the same seed."""
