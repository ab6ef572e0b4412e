# SPDX-License-Identifier: MIT
"""The firmware image that probes an accelerator, assembled from ``probe.S`` (a test assembles it too)."""

SIZE = 0x10000
# QEMU's exit status is value * 2 + 1, where value is what the image writes to the port.
EXIT_PORT = 0xF4
PASSED = 0x2A * 2 + 1

# Offset -> bytes; all others are zero.
_PARTS = {
    0x0000: "2310ffff",  # first level of the page tables
    0x1018: "2320ffff",
    0x2FF8: "e300e0ff",
    0x3008: "ffff0000009bcf00 ffff00000093cf00 ffff0000009baf00",  # descriptors
    0x3020: "1f000030ffff",
    0x3026: "fa2e660f011620300f20c00c010f22c066ea3e30ffff0800",  # 16-bit code
    0x303E: "b8100000008ed88ec08ed00f20e083c8200f22e0b80000ffff0f22d8b9800000c00f320d000100000f30"
    "0f20c00d000000800f22c0ea7a30ffff1800",  # 32-bit code
    0x307A: "48be2d7f954c2df4515848bf4f8167f77e7b0514b801000000b9c0c62d00480fafc64801f8ffc975f5"
    "48bac12478fb068045164839d0b82a0000007405b82b000000baf4000000efebfe",  # 64-bit code
    0xFFF0: "e93330",  # reset vector
}


def image() -> bytes:
    """The whole image, SIZE bytes."""
    rom = bytearray(SIZE)
    for offset, text in _PARTS.items():
        data = bytes.fromhex(text)
        rom[offset : offset + len(data)] = data
    return bytes(rom)
