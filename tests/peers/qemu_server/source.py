# SPDX-License-Identifier: MIT
"""Brings QEMU's example ivshmem-server and -client onto this machine, and keeps them for the next run.

No binary package has them, so they come from Debian's source package. They are GPL-2.0-or-later and no part of this
project: compiled for the tests only, they stay in the user's cache.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from ivshmem_virtio.vm.cache import cache_folder, complete_folder
from ivshmem_virtio.vm.errors import DownloadFailed, UnpackFailed
from ivshmem_virtio.vm.packages import tool
from ivshmem_virtio.vm.progress import step

PACKAGE = "qemu"
ARCHIVE = f"{PACKAGE}_*.orig.tar.*"

# Both programs, the version, and the two headers that need nothing else of QEMU.
WANTED = (
    "contrib/ivshmem-server", "contrib/ivshmem-client", "include/qemu/queue.h", "include/hw/misc/ivshmem.h", "VERSION",
)  # fmt: skip


def source_folder() -> Path:
    """Where the source is kept, and where an archive brought by hand is looked for."""
    folder = cache_folder() / "qemu-source"
    folder.mkdir(exist_ok=True)
    return folder


def qemu_tree() -> Path:
    """Root of the unpacked part of QEMU's source; raises a VmError."""
    return complete_folder(source_folder() / "tree", fill)


def fill(tree: Path) -> None:
    brought = sorted(source_folder().glob(ARCHIVE))
    if brought:
        unpack(brought[-1], tree)
        return
    download = tree / ".download"
    with step(f"fetching QEMU's source package (about 35 MB, once) into {source_folder()}"):
        archive = fetch(download)
    unpack(archive, tree)
    shutil.rmtree(download)


def unpack(archive: Path, tree: Path) -> None:
    members = [f"{PACKAGE}-*/{name}" for name in WANTED]
    options = ["--no-same-owner", "--strip-components=1", "--wildcards", "--no-wildcards-match-slash"]
    command = ["tar", "-xf", str(archive), "-C", str(tree), *options, *members]
    with step(f"unpacking the ivshmem programs of {archive.name}"):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnpackFailed(f"cannot unpack {archive.name}: {first_line(done.stderr)}")


def fetch(folder: Path) -> Path:
    """Download the source archive with lists of our own: few machines have source packages configured."""
    for name in ("lists/partial", "cache/archives/partial", "sources"):
        (folder / name).mkdir(parents=True)
    for file in configured_sources():
        (folder / "sources" / file.name).write_text(as_sources(file.read_text()))
    # A source that cannot be reached is no failure while another one has the package.
    update = apt(folder, "update")
    source = apt(folder, "source", "--download-only", "--tar-only", PACKAGE)
    found = sorted(folder.glob(ARCHIVE))
    if source.returncode or not found:
        raise DownloadFailed(f"apt-get source {PACKAGE} failed: {first_line(update.stderr + source.stderr)}")
    return found[-1]


def apt(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": folder / "sources",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "Acquire::Retries": 2,
        "Acquire::http::Timeout": 20,
        "APT::Sandbox::User": "root",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [tool("apt-get", "apt"), "-qq", *options, *command],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def configured_sources() -> list[Path]:
    """The files that configure Debian's archive here; all there are, where apt has no lists yet to tell by."""
    question = ["indextargets", "--format", "$(SOURCESENTRY)", "Created-By: Packages", "Origin: Debian"]
    done = subprocess.run([tool("apt-get", "apt"), *question], capture_output=True, text=True, check=False)
    found = {Path(entry.rpartition(":")[0]) for entry in done.stdout.split()}
    etc = Path("/etc/apt")
    everything = [etc / "sources.list", *etc.glob("sources.list.d/*.list"), *etc.glob("sources.list.d/*.sources")]
    return sorted(found) or [file for file in everything if file.exists()]


def as_sources(text: str) -> str:
    """A file of binary package sources, in either format of sources.list(5), as one of source packages."""
    one_line = re.sub(r"^deb\s", "deb-src ", text, flags=re.MULTILINE)
    return re.sub(r"^Types:.*$", "Types: deb-src", one_line, flags=re.MULTILINE | re.IGNORECASE)


def first_line(text: str) -> str:
    """What went wrong first: what comes after it follows from it."""
    return (text.strip() or "no message").splitlines()[0]
