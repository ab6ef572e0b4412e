# SPDX-License-Identifier: MIT
"""Requests and register writes with mistakes in them, without end: nothing crashes, hangs, leaks or goes astray."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from ivshmem_virtio import core
from ivshmem_virtio.evil.driver.catalogue import SCENARIOS
from ivshmem_virtio.evil.driver.outcome import Outcome, Report
from ivshmem_virtio.evil.driver.run import run
from ivshmem_virtio.evil.driver.target import Target
from tests.figures import Figures

from .hostile_site import DEVICES, SANITIZED, Site, nobody_else_hurt

CHAINS = int(os.environ.get("HOSTILE_CHAINS", "1000000"))
TRANSACTIONS = int(os.environ.get("HOSTILE_TRANSACTIONS", "100000"))
REWRITES = 20
"""Half seconds of each kind of rewriting."""
BATCHES_AT_ONCE = 200
TRANSACTIONS_AT_ONCE = 5000
LONG = 4 * 3600
SHORT = [("blk", "split"), ("blk", "packed"), ("console", "packed"), ("net", "split"), ("rng", "packed")]
"""Both layouts on the type with the most to say, then in turns."""


def chains(target: Target, wanted: int, seed: int) -> Report:
    """Mutated chains until so many were looked at."""
    total = Report("chains-mutated", seed)
    while total.chains < wanted:
        total += run(target, SCENARIOS["chains-mutated"], seed=seed, count=BATCHES_AT_ONCE)
        seed += 1
        if seed % 100 == 0:
            print(f"seed {seed}: {total.chains} of {wanted} chains, {total.seconds:.0f} s")
    return total


def transactions(target: Target, wanted: int, seed: int) -> Report:
    """Mutated header transactions, so many; those that bring a device up again are not counted."""
    total = Report("transactions-mutated", seed)
    while total.attempts < wanted:
        total += run(target, SCENARIOS["transactions-mutated"], seed=seed, count=min(wanted, TRANSACTIONS_AT_ONCE))
        seed += 1
    return total


def rewrites(target: Target, count: int, seed: int) -> Report:
    """A second thread on each part of the link."""
    total = Report("rewrite", seed)
    for name in ("rewrite-rings", "rewrite-rooms", "rewrite-header", "rewrite-link"):
        total += run(target, SCENARIOS[name], seed=seed, count=count)
    return total


def storms(target: Target, seed: int) -> Report:
    """Doorbells at full speed; a chain is served all the same."""
    total = Report("doorbell-storm", seed)
    for name in ("doorbell-storm", "doorbell-storm-all"):
        total += run(target, SCENARIOS[name], seed=seed, count=1)
    assert total.outcomes == {Outcome.COMPLETED: 2}
    return total


def campaign(
    site: Site,
    device: str,
    ring: str,
    figures: Figures,
    *,
    chains_wanted: int,
    transactions_wanted: int,
    rewrites_wanted: int,
) -> None:
    assert (b"__asan_init" in Path(core.__file__).read_bytes()) == SANITIZED, f"{core.__file__} is not what is meant"
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"{device}, {ring} ring: seed {seed}")
    began = time.monotonic()
    with nobody_else_hurt(site, device, packed=ring == "packed") as target:
        assert target.packed == (ring == "packed")
        mutated = chains(target, chains_wanted, seed)
        written = transactions(target, transactions_wanted, seed)
        rewritten = rewrites(target, rewrites_wanted, seed)
        stormed = storms(target, seed)
    figures(
        f"{device}, {ring} ring{', sanitized core' if SANITIZED else ''}",
        chains=mutated.chains,
        resets=mutated.resets + written.resets,
        rules=len(mutated.rules),
        transactions=written.attempts,
        rewritten_s=rewritten.seconds,
        longest_wait_ms=1000 * max(mutated.slowest, written.slowest, stormed.slowest),
        minutes=(time.monotonic() - began) / 60,
    )


@pytest.mark.parametrize(("device", "ring"), SHORT)
def test_some_mutants(site: Site, device: str, ring: str, figures: Figures) -> None:
    campaign(site, device, ring, figures, chains_wanted=4000, transactions_wanted=500, rewrites_wanted=1)


@pytest.mark.soak
@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("ring", ["split", "packed"])
@pytest.mark.parametrize("device", DEVICES)
def test_a_million_mutants(site: Site, device: str, ring: str, figures: Figures) -> None:
    campaign(
        site, device, ring, figures, chains_wanted=CHAINS, transactions_wanted=TRANSACTIONS, rewrites_wanted=REWRITES
    )
