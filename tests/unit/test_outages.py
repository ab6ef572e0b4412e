# SPDX-License-Identifier: MIT
"""Pauses, from the times of completions and kills."""

from __future__ import annotations

from itertools import pairwise

from tests.outages import in_milliseconds, outages


def test_each_kill_has_its_pause_and_two_may_share_one() -> None:
    completions = [0.0, 1.0, 1.125, 3.0, 3.5, 8.0]
    # The first was noticed late: what came back at 1.125 had been published before.
    assert outages(list(pairwise(completions)), [1.05, 4.0, 5.0]) == {1.875: 1, 4.5: 2}


def test_a_kill_after_which_nothing_came_has_none() -> None:
    assert outages([(0.0, 1.0)], [2.0]) == {}


def test_the_start_of_an_interpreter_is_taken_off() -> None:
    found = in_milliseconds([0.12, 0.13, 0.52], 0.02)
    assert found["median_ms"] == 110
    assert found["max_ms"] == 500
    assert found["python_ms"] == 20
