# SPDX-License-Identifier: MIT
"""A device with a bug costs its own driver a reset, and nobody anything else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ivshmem_virtio.transport.driver.errors import DriverError
from ivshmem_virtio.transport.features import Status
from tests.unit.driver_link_pair import Bench, bench


class Bug(Exception):
    """What a device of somebody else may raise."""


def raise_bug(*_: object) -> None:
    raise Bug


@pytest.fixture
def served() -> Iterator[Bench]:
    with bench() as made:
        yield made


def use(served: Bench, method: str) -> None:
    """Everything a driver does that ends in one of the device's methods."""
    served.bring_up()
    if method == "write_config":
        served.driver.write_config(4, b"abcd")
    served.ask(b"anything")


@pytest.mark.parametrize("method", ["activate", "handle_queue", "write_config"])
def test_the_driver_is_told_and_a_reset_helps(served: Bench, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.mirror, method, raise_bug)
    with pytest.raises(DriverError):
        use(served, method)
    assert served.device.status & Status.NEEDS_RESET
    monkeypatch.undo()
    served.driver.close()
    served.device.look()
    served.bring_up()
    assert served.ask(b"again") == b"niaga"
