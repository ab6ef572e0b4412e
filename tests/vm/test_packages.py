# SPDX-License-Identifier: MIT
"""Debian packages are fetched for anybody, once, and what cannot be fetched is said in one line."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ivshmem_virtio.vm import packages
from ivshmem_virtio.vm.errors import DownloadFailed, PackageMissing, UnknownKernel
from ivshmem_virtio.vm.kernel import kernel

_FETCH = """
from ivshmem_virtio.vm.packages import resolve, unpacked
print(unpacked(resolve("busybox-static")))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can reach; pytest's own are private, and stay it."""
    with tempfile.TemporaryDirectory(prefix="ivshmem-virtio-test.") as name:
        Path(name).chmod(0o777)
        yield Path(name)


def test_who_is_not_root_fetches_into_the_own_cache(open_folder: Path) -> None:
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    # A user of little rights cannot write the coverage data of these tests.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    environment = {**inherited, "XDG_CACHE_HOME": str(open_folder), "PYTHONDONTWRITEBYTECODE": "1"}
    first = subprocess.run([*drop, sys.executable, "-c", _FETCH], env=environment, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "fetching busybox-static" in first.stderr
    found = Path(first.stdout.strip())
    assert (found / "bin" / "busybox").is_file()
    again = subprocess.run([*drop, sys.executable, "-c", _FETCH], env=environment, capture_output=True, text=True)
    assert again.returncode == 0
    assert again.stderr == ""
    assert again.stdout == first.stdout


def test_a_package_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_refresh_lists", lambda: False)
    with pytest.raises(PackageMissing, match="no-such-package-here is in no configured apt source"):
        packages.resolve("no-such-package-here")


def test_an_installed_package_without_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an image that was built small: apt tells of dpkg, but not where to get it."""
    (tmp_path / "lists").mkdir()
    (tmp_path / "apt.conf").write_text(f'Dir::State::lists "{tmp_path}/lists";')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(packages, "_refresh_lists", lambda: False)
    monkeypatch.setattr(packages, "_known", {})
    with pytest.raises(PackageMissing, match="dpkg is in no configured apt source"):
        packages.resolve("dpkg")


def test_a_version_the_archive_no_longer_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_refresh_lists", lambda: False)
    gone = packages.Package("busybox-static", "1:0.1", "amd64", 1, ())
    with pytest.raises(DownloadFailed, match=r"apt-get download failed: .*0\.1"):
        packages.fetch_into(tmp_path, [gone])


def test_dependencies_come_along() -> None:
    names = {package.name for package in packages.closure(["pciutils"])}
    assert {"pciutils", "libpci3", "pci.ids", "libc6"} <= names


def test_an_unknown_series() -> None:
    with pytest.raises(UnknownKernel, match=r"'2\.6' is unknown: choose one of 6\.1, 6\.12"):
        kernel("2.6")
