# SPDX-License-Identifier: MIT
"""A kernel that watches itself: address sanitizer, lock validator and the like, compiled for the guest tests."""
