# SPDX-License-Identifier: MIT
"""``evil-driver`` as its user starts it."""

from __future__ import annotations

import json

import pytest

from ivshmem_virtio.cli.main import run
from ivshmem_virtio.evil.driver.catalogue import SCENARIOS

from .hostile_site import Site


def test_two_scenarios_on_one_link(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--socket", str(site.socket("evil")), "--link", "blk", "--seed", "5", "--count", "3"]
    names = ["--scenario", "loop-self", "--scenario", "indirect-last"]
    assert run(["evil-driver", *options, *names, "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["scenario"], first["seed"], first["attempts"]) == ("loop-self", 5, 3)
    assert first["outcomes"] == {"needs-reset": 3}
    assert first["rules"] == {"ChainTooLong": 3}
    assert second["outcomes"] == {"completed": 3}
    assert run(["evil-driver", *options, "--scenario", "loop-self"]) == 0
    assert "3 needs-reset (3 ChainTooLong)" in capsys.readouterr().out


def test_what_cannot_be_done_is_said_in_one_line(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    socket = str(site.socket("evil"))
    assert run(["evil-driver", "--socket", socket, "--link", "blk", "--scenario", "peace"]) == 1
    assert (
        capsys.readouterr().err
        == f"ivshmem-virtio: no scenario 'peace': evil-driver --list shows all {len(SCENARIOS)}\n"
    )
    assert run(["evil-driver", "--socket", socket, "--link", "nowhere"]) == 1
    assert capsys.readouterr().err.startswith("ivshmem-virtio: no link 'nowhere'")
