# SPDX-License-Identifier: MIT
# cython: language_level=3
"""Compiled core."""
