# SPDX-License-Identifier: MIT
"""A description that is interrupted anywhere is the one of before, or the one that was to be."""

from __future__ import annotations

import os

import pytest

from ivshmem_virtio.service import description as module
from ivshmem_virtio.service.description import (
    DESCRIPTION_MAGIC,
    SLOT_SIZE,
    Description,
    DescriptionUnusable,
    DescriptionVersion,
    read_description,
)


class Killed(BaseException):
    """The process ends here."""


def test_each_write_replaces_the_last() -> None:
    description = Description.new()
    for number in range(5):
        description.write({"number": number, "text": "x" * (number * 1000)})
        assert read_description(description.descriptor)["number"] == number
    successor = Description(os.dup(description.descriptor))
    successor.write({"number": 99})
    assert read_description(description.descriptor) == {"number": 99}
    successor.close()
    description.close()


@pytest.mark.parametrize("whole", range(4))
@pytest.mark.parametrize("part", [0, 1, 17])
def test_a_write_that_is_cut_short(monkeypatch: pytest.MonkeyPatch, whole: int, part: int) -> None:
    """After ``whole`` of its writes and ``part`` bytes of the next one."""
    description = Description.new()
    for number in range(3):
        description.write({"number": number})
    left = [whole]
    write_all = module.write_all

    def until_killed(descriptor: int, data: bytes, offset: int) -> None:
        if left[0] == 0:
            write_all(descriptor, data[:part], offset)
            raise Killed
        left[0] -= 1
        write_all(descriptor, data, offset)

    monkeypatch.setattr(module, "write_all", until_killed)
    if whole < 3:
        with pytest.raises(Killed):
            description.write({"number": 3})
    else:
        description.write({"number": 3})
    assert read_description(description.descriptor) == {"number": 3 if whole == 3 else 2}
    monkeypatch.undo()
    Description(description.descriptor).write({"number": 4})
    assert read_description(description.descriptor) == {"number": 4}
    description.close()


def test_nothing_and_another_version_are_told_apart() -> None:
    description = Description.new()
    with pytest.raises(DescriptionUnusable, match="no valid description"):
        read_description(description.descriptor)
    description.write({})
    os.pwrite(description.descriptor, (7).to_bytes(4, "little"), SLOT_SIZE + len(DESCRIPTION_MAGIC))
    with pytest.raises(DescriptionVersion, match="version 7"):
        read_description(description.descriptor)
    description.close()
