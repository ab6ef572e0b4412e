# SPDX-License-Identifier: MIT
"""A real service under a hostile guest: the offender's device breaks, and nothing else does."""
