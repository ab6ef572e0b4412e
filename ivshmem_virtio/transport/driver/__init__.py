# SPDX-License-Identifier: MIT
"""The driver side of a header, in user space: for tests, tools and machines without a kernel driver."""
