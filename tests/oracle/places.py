# SPDX-License-Identifier: MIT
"""Where things lie in the window of an exchange, bytes."""

# Rings of up to 256 descriptors; the kernel's driver places its own from RINGS on.
RINGS = 0x1000
DESC, AVAIL, USED = 0x1000, 0x3000, 0x4000

# Indirect tables of the kernel's driver, 256 bytes each.
TABLES, TABLES_END = 0x10000, 0x20000

# Rooms of the requests, one for each descriptor.
REQUESTS = 0x20000
