# SPDX-License-Identifier: MIT
"""QEMU's own example server and client, fetched and compiled for the tests that talk to them."""
