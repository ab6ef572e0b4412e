# SPDX-License-Identifier: MIT
"""Takes what was found into the corpus, as few inputs as reach the same: ``python -m fuzz.merge [TARGET ...]``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz.corpus import file_of, pack, unpack
from fuzz.process import BUILD, ROOT, command, environment
from fuzz.targets import TARGETS


def merge(target: str, folders: list[Path]) -> None:
    """The corpus anew, from itself and from the inputs in ``folders``."""
    seeds, merged = BUILD / "corpus" / target, BUILD / "merged" / target
    unpack(target, seeds)
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir(parents=True)
    sources = [str(folder) for folder in (seeds, *folders) if folder.exists()]
    with TemporaryDirectory() as scratch:
        subprocess.run(
            command(target, "-merge=1", "-use_value_profile=0", str(merged), *sources),
            env={**environment(target), "TMPDIR": scratch}, cwd=ROOT, check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    pack(target, [path.read_bytes() for path in merged.iterdir()])
    size = file_of(target).stat().st_size
    print(f"{target}: {len(list(merged.iterdir()))} inputs, {size} bytes")


if __name__ == "__main__":
    for name in sys.argv[1:] or TARGETS:
        merge(name, [BUILD / "found" / name])
