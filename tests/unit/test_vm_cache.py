# SPDX-License-Identifier: MIT
"""Entries of the cache are whole or absent, and built once."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

from ivshmem_virtio.vm.cache import cache_folder, complete_folder


def test_the_cache_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here" / "ivshmem-virtio"
    assert cache_folder().is_dir()


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def broken(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError("no more")

    target = tmp_path / "entry"
    with pytest.raises(RuntimeError, match="no more"):
        complete_folder(target, broken)
    assert [path.name for path in tmp_path.iterdir()] == [".entry.lock"]


def _build_slowly(target: Path) -> None:
    def build(folder: Path) -> None:
        with (target.parent / "builds").open("a") as builds:
            builds.write("built\n")
        time.sleep(0.3)
        (folder / "content").write_text("whole")

    complete_folder(target, build)
    assert (target / "content").read_text() == "whole"


def test_concurrent_builders_build_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    builders = [context.Process(target=_build_slowly, args=(tmp_path / "entry",)) for _ in range(4)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(60)
    assert [builder.exitcode for builder in builders] == [0, 0, 0, 0]
    assert (tmp_path / "builds").read_text() == "built\n"
