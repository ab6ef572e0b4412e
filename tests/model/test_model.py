# SPDX-License-Identifier: MIT
"""The protocol's models hold, and each of them fails as soon as one thing the protocol needs is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from model.checker import FOLDER, CheckNotFinished, check
from model.instances import LONG, MUTANTS, SHORT, Instance

ROOT = Path(__file__).parents[2]

DEMANDED = {
    "re-check timer removed": ["handshake NO_TIMER_FRONTEND", "handshake NO_TIMER_BACKEND"],
    "epoch test removed": ["handshake NO_EPOCH_TEST"],
    "redo before the pending transaction is read": ["resume REDO_FIRST"],
    "a fence of resume and reset removed": ["resume NO_FENCE_BACKEND", "resume NO_FENCE_FRONTEND"],
    "transaction cleared without compare": ["transactions CLEAR_WITHOUT_COMPARE"],
    "stand-in without the owner word": ["standin NO_OWNER"],
}


@pytest.mark.parametrize("instance", SHORT, ids=str)
def test_the_protocol_holds(instance: Instance) -> None:
    outcome = check(instance)
    assert not outcome.error, outcome.trail
    assert outcome.states > 1000, "hardly anything was looked at"


@pytest.mark.parametrize("instance", MUTANTS, ids=str)
def test_what_is_left_out_is_missed(instance: Instance) -> None:
    assert check(instance).error, f"{instance} holds, so the model does not show what this part is for"


@pytest.mark.parametrize("what", DEMANDED)
def test_there_is_a_mutant_for(what: str) -> None:
    there = {" ".join((instance.model, instance.macros[0])) for instance in MUTANTS}
    assert set(DEMANDED[what]) <= there


def macros_in(model: str) -> set[str]:
    text = (FOLDER / f"{model}.pml").read_text()
    return set(re.findall(r"^#ifn?def (\w+)$", text, re.MULTILINE))


@pytest.mark.parametrize("instance", [*SHORT, *LONG, *MUTANTS], ids=str)
def test_every_macro_means_something(instance: Instance) -> None:
    assert {macro.split("=")[0] for macro in instance.macros} <= macros_in(instance.model)


def test_no_mutant_of_a_model_is_forgotten() -> None:
    sizes = {macro.split("=")[0] for instance in (*SHORT, *LONG) for macro in instance.macros}
    sizes |= {"KILLS", "REQUESTS", "PATIENCE", "STALLS", "PASSES", "IN_FLIGHT"}
    for path in FOLDER.glob("*.pml"):
        used = {macro for instance in MUTANTS if instance.model == path.stem for macro in instance.macros}
        assert macros_in(path.stem) - sizes <= used, f"{path.name} has mutants that nobody runs"


def test_code_named_in_the_models_exists() -> None:
    """Comments name the function that a step stands for; so it has to be found."""
    sources = [*ROOT.glob("ivshmem_virtio/**/*.py"), *ROOT.glob("cython_ext/*.p*"), *ROOT.glob("guest_driver/*.c")]
    code = "\n".join(path.read_text() for path in sources)
    for path in FOLDER.glob("*.pml"):
        comments = " ".join(re.findall(r"/\*.*?\*/", path.read_text(), re.DOTALL))
        for name in re.findall(r"\b(?:[A-Z]\w+\.)?(_?[a-z]+(?:_[a-z]+)+)\b", comments):
            assert re.search(rf"\b{name}\b", code) or re.search(rf"\b{name}\b", path.read_text().replace(comments, ""))


def test_a_model_that_is_no_model_is_reported() -> None:
    with pytest.raises(CheckNotFinished, match="handshake READY"):
        check(Instance("handshake", ("READY=(",)))
