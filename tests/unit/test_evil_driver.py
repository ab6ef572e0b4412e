# SPDX-License-Identifier: MIT
"""The hostile driver's own parts: what one seed does, it does again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from random import Random

import pytest

from ivshmem_virtio.cli.main import run
from ivshmem_virtio.evil.driver.catalogue import SCENARIOS, TABLES, choose
from ivshmem_virtio.evil.driver.errors import ScenarioUnknown
from ivshmem_virtio.evil.driver.mutated import BATCH, Mutants
from ivshmem_virtio.evil.driver.places import QueuePlace, Stretch
from ivshmem_virtio.evil.driver.ring import RawRing
from ivshmem_virtio.link.layout import SplitPlacement

from .driver_link_pair import LinkPair


@pytest.fixture
def pair() -> Iterator[LinkPair]:
    made = LinkPair(1 << 20)
    yield made
    made.close()


def written(pair: LinkPair, device_id: int, queue: int, seed: int) -> str:
    """Digest of a window after batches of mutants."""
    window = pair.frontend.window
    window.zero(0, window.length)
    ring = RawRing(pair.frontend, QueuePlace(queue, 256, SplitPlacement.at(4096, 256), 0, Stretch(65536, 1 << 20)))
    mutants = Mutants(ring, device_id)
    dice = Random(seed)
    for _ in range(20):
        ring.offer(mutants.heads(dice, BATCH))
    del mutants, ring
    return hashlib.sha256(window.read(0, window.length)).hexdigest()


@pytest.mark.parametrize("device_id", [1, 2, 3, 4, 42])
@pytest.mark.parametrize("queue", [0, 1])
def test_one_seed_makes_one_attack(pair: LinkPair, device_id: int, queue: int) -> None:
    first = written(pair, device_id, queue, 7)
    assert first == written(pair, device_id, queue, 7)
    assert first != written(pair, device_id, queue, 8)


def test_every_scenario_has_a_name_of_its_own() -> None:
    assert len(SCENARIOS) == sum(len(table) for table in TABLES)
    assert len(SCENARIOS) > 70
    assert choose([]) == list(SCENARIOS.values())
    with pytest.raises(ScenarioUnknown, match="no scenario 'x'"):
        choose(["x"])


def test_the_list_needs_no_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evil-driver", "--list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found] == list(SCENARIOS)
    assert run(["evil-driver", "--list"]) == 0
    assert "loop-indirect" in capsys.readouterr().out


def test_a_socket_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evil-driver"]) == 2
    assert "--socket PATH" in capsys.readouterr().err
