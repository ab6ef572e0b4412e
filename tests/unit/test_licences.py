# SPDX-License-Identifier: MIT
"""Every file says under which licence it is: the guest kernel module GPL-2.0-only, everything else MIT."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TAG = "SPDX-License-Identifier: "


def tracked() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: run from a clone to check the licence of every file")
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if not name.startswith("LICENSES/")]


def test_every_file_names_its_licence() -> None:
    for path in tracked():
        head = "\n".join(path.read_text("utf-8").splitlines()[:4])
        assert TAG in head, f"{path.relative_to(ROOT)} has no SPDX line"
        licence = head.split(TAG)[1].split()[0]
        assert licence in ("MIT", "GPL-2.0-only"), f"{path.relative_to(ROOT)}: {licence}"
        if path.parent == ROOT / "guest_driver" and path.suffix in (".c", ".h"):
            assert licence == "GPL-2.0-only", f"{path.relative_to(ROOT)} is part of the kernel module"
