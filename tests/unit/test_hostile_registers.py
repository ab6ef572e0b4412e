# SPDX-License-Identifier: MIT
"""A driver that overstates what it may: the device side of the header does not believe it."""

from __future__ import annotations

import pytest

from ivshmem_virtio.link.layout import Header
from ivshmem_virtio.transport.features import OFFERED, Status

from .driver_link_pair import bench


@pytest.mark.parametrize("bit", [bit for bit in range(64) if not (OFFERED | 0b101) >> bit & 1])
def test_no_bit_is_accepted_that_was_not_offered(bit: int) -> None:
    """Whether the bit has a name or not."""
    with bench() as b:
        b.driver.bring_up()
        offered = b.driver.device_features()
        for word in (1, 0):
            b.driver.write_register(Header.DRIVER_FEATURES_SEL, word)
            b.driver.write_register(Header.DRIVER_FEATURES, (offered | 1 << bit) >> 32 * word & 0xFFFFFFFF)
        b.driver.add_status(Status.FEATURES_OK)
        assert not b.driver.status & Status.FEATURES_OK
