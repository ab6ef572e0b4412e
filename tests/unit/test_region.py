# SPDX-License-Identifier: MIT
"""Memory objects: made, found, kept, taken over, refused."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import posix_ipc
import pytest

from ivshmem_virtio.link.layout import DIRECTORY_MAGIC
from ivshmem_virtio.memory import errors, region
from ivshmem_virtio.memory.lock import lock_directory
from ivshmem_virtio.memory.owner import Owner
from ivshmem_virtio.memory.region import Region

SIZE = 65536


@pytest.fixture
def name() -> Iterator[str]:
    """A name for shared memory that nobody else has; removed at the end."""
    unique = f"ivshmem-unit.{os.getpid()}.{os.urandom(4).hex()}"
    yield unique
    path = Path("/dev/shm") / unique
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def leave_behind(name: str, content: bytes, size: int = SIZE) -> None:
    """An object without a living keeper."""
    memory = posix_ipc.SharedMemory(f"/{name}", posix_ipc.O_CREX, mode=0o600)
    os.ftruncate(memory.fd, size)
    os.pwrite(memory.fd, content, 0)
    memory.close_fd()


def test_created_region_has_its_pages_and_its_mode(name: str) -> None:
    old = os.umask(0o077)
    try:
        with Region.create(name, SIZE, mode=0o666, owner=Owner(os.getuid(), os.getgid())) as made:
            status = os.fstat(made.memory)
            assert (status.st_size, status.st_blocks * 512) == (SIZE, SIZE)
            assert stat.S_IMODE(status.st_mode) == 0o666, "the umask does not count"
            assert not os.get_inheritable(made.memory)
            with Region.open(name) as found:
                found.write(SIZE - 3, b"end")
                assert found.size == SIZE
            assert made.read(SIZE - 3, 3) == b"end"
            made.unlink()
            made.unlink()
            with pytest.raises(errors.RegionMissing):
                Region.open(name)
    finally:
        os.umask(old)


def test_windows_are_views_of_the_same_memory(name: str) -> None:
    with Region.create(name, SIZE) as made:
        one, other = made.window(4096, 8192), made.window(8192, 4096)
        one.store32(4096, 0x12345678)
        assert other.load32(0) == 0x12345678
        assert made.read(8192, 4) == b"\x78\x56\x34\x12"
        one.close()
        other.close()


OUTSIDE = [(-4096, 4096), (SIZE, 4096), (SIZE - 4096, 8192), (0, SIZE + 1), (1 << 63, 4096)]


@pytest.mark.parametrize(("offset", "length"), OUTSIDE)
def test_nothing_outside_the_region(offset: int, length: int) -> None:
    with Region.create_anonymous(SIZE) as made:
        with pytest.raises(errors.OutsideRegion):
            made.window(offset, length)
        with pytest.raises(errors.OutsideRegion):
            made.read(offset, length)
        with pytest.raises(errors.OutsideRegion):
            made.write(offset, bytes(min(length, 2 * SIZE)))


def test_truncated_object_is_an_error_and_no_sigbus(name: str) -> None:
    with Region.create(name, SIZE) as made:
        os.ftruncate(made.memory, 4096)
        with pytest.raises(errors.OutsideRegion, match="4096"):
            made.window(8192, 4096)
        with pytest.raises(errors.OutsideRegion, match="truncated"):
            made.read(4000, 4096)


def test_anonymous_region_is_sealed() -> None:
    with Region.create_anonymous(SIZE) as made:
        for size in (0, 4096, SIZE * 2):
            with pytest.raises(PermissionError):
                os.ftruncate(made.memory, size)
        with pytest.raises(PermissionError):
            fcntl.fcntl(made.memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        with Region.from_fd(os.dup(made.memory)) as second:
            assert second.size == SIZE


def test_folder_region_has_no_name(tmp_path: Path) -> None:
    with Region.create_in_folder(tmp_path, SIZE) as made:
        assert os.fstat(made.memory).st_size == SIZE
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [-1, 0, 1, 2048, 4097, 12288, 3 << 20])
@pytest.mark.parametrize("create", [Region.create_anonymous, lambda size: Region.create("never-made", size)])
def test_size_must_be_a_power_of_two(size: int, create: Callable[[int], Region]) -> None:
    with pytest.raises(errors.RegionSize, match="power of two"):
        create(size)


@pytest.mark.parametrize("bad", ["", "a/b", "/a", ".", "..", "x" * 255, "a\0b"])
def test_names(bad: str) -> None:
    with pytest.raises(errors.RegionName):
        Region.create(bad, SIZE)
    with pytest.raises(errors.RegionName):
        Region.open(bad)


def test_no_room_is_one_line_and_leaves_nothing(name: str) -> None:
    with pytest.raises(errors.RegionNoSpace, match=r"bytes are free") as caught:
        Region.create(name, 1 << 46)
    assert "\n" not in str(caught.value)
    with pytest.raises(errors.RegionMissing):
        Region.open(name)


def test_living_keeper_is_respected(name: str) -> None:
    with Region.create(name, SIZE) as first:
        first.write(0, DIRECTORY_MAGIC)
        for keep in (False, True):
            with pytest.raises(errors.RegionInUse, match=name):
                Region.create(name, SIZE, keep_contents=keep)
        assert first.read(0, 8) == DIRECTORY_MAGIC


def test_holders_of_the_memory_do_not_keep_the_name_of_a_dead_keeper(name: str) -> None:
    """QEMU has a duplicate of the keeper's descriptor, and with it would have a lock that was taken on it."""
    first = Region.create(name, SIZE)
    held = os.dup(first.memory)
    first.close()
    with Region.create(name, SIZE) as second:
        assert not os.path.sameopenfile(held, second.memory)
        first.unlink()
        assert Path(f"/dev/shm/{name}").exists(), "a name that is another object's by now stays"
    os.close(held)


def test_killed_keeper(name: str) -> None:
    code = (
        "import os, signal; from ivshmem_virtio.memory.region import Region;"
        f"r = Region.create({name!r}, {SIZE}); r.write(0, b'IVSHMVIO'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    with Region.open(name) as left:
        assert left.read(0, 8) == DIRECTORY_MAGIC
    with Region.create(name, 2 * SIZE) as made:
        assert (made.size, made.read(0, 8)) == (2 * SIZE, bytes(8))


LEFT_BEHIND: list[tuple[str, bytes, int, bool, type[errors.RegionError] | None]] = [
    ("ours", DIRECTORY_MAGIC, SIZE, False, None),
    ("ours, other size", DIRECTORY_MAGIC, 2 * SIZE, False, None),
    ("never written", b"", SIZE, False, None),
    ("empty", b"", 0, False, None),
    ("somebody else's", b"precious", SIZE, False, errors.RegionNameTaken),
    ("kept: ours", DIRECTORY_MAGIC, SIZE, True, None),
    ("kept: somebody's", b"precious", SIZE, True, None),
    ("kept: other size", DIRECTORY_MAGIC, 2 * SIZE, True, errors.RegionSizeDiffers),
]


@pytest.mark.parametrize(("what", "content", "size", "keep", "error"), LEFT_BEHIND, ids=[row[0] for row in LEFT_BEHIND])
def test_left_behind(
    name: str, what: str, content: bytes, size: int, keep: bool, error: type[errors.RegionError] | None
) -> None:
    leave_behind(name, content, size)
    before = len(os.listdir("/proc/self/fd"))
    if error is None:
        with Region.create(name, SIZE, keep_contents=keep) as made:
            assert made.size == SIZE
            assert made.read(0, len(content)) == (content if keep else bytes(len(content)))
    else:
        with pytest.raises(error, match=name):
            Region.create(name, SIZE, keep_contents=keep)
        with Region.open(name) as still:
            assert still.read(0, len(content)) == content
    assert len(os.listdir("/proc/self/fd")) <= before


def test_folder_of_that_name(name: str) -> None:
    (Path("/dev/shm") / name).mkdir()
    with pytest.raises(errors.RegionNameTaken):
        Region.open(name)
    with pytest.raises(errors.RegionNameTaken):
        Region.create(name, SIZE)


def test_link_of_that_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(bytes(SIZE))
    (Path("/dev/shm") / name).symlink_to(tmp_path / "target")
    with pytest.raises(errors.RegionNameTaken):
        Region.create(name, SIZE)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user; run the tests as root")
def test_another_user(name: str) -> None:
    with Region.create(name, SIZE):
        code = (
            "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "from ivshmem_virtio.memory.region import Region\n"
            "from ivshmem_virtio.memory.errors import RegionNotAllowed\n"
            f"for act in (Region.open, lambda n: Region.create(n, {SIZE})):\n"
            "    try:\n"
            f"        act({name!r})\n"
            "    except RegionNotAllowed as error:\n"
            "        print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", "import ivshmem_virtio.core, posix_ipc, ivshmem_virtio.memory.region\n" + code],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert done.stdout.count("belongs to another user") == 2


def test_one_writer_of_the_directory() -> None:
    with Region.create_anonymous(SIZE) as made:
        held = os.dup(made.memory)
        first = lock_directory(made.memory)
        with pytest.raises(errors.DirectoryLocked):
            lock_directory(held)
        os.close(first)
        os.close(lock_directory(held))
        os.close(held)


def test_keeper_and_directory_writer_do_not_exclude_each_other(name: str) -> None:
    with Region.create(name, SIZE) as made:
        os.close(lock_directory(made.memory))


OWNERS = [("0", (0, -1)), ("0:0", (0, 0)), (":0", (-1, 0)), ("root", (0, -1)), ("root:root", (0, 0)), ("7:", (7, -1))]


@pytest.mark.parametrize(("text", "numbers"), OWNERS)
def test_owner(text: str, numbers: tuple[int, int]) -> None:
    assert Owner.parse(text) == Owner(*numbers)


@pytest.mark.parametrize("text", ["no such user", "root:no such group", "-5"])
def test_unknown_owner(text: str) -> None:
    with pytest.raises(errors.UnknownOwner):
        Owner.parse(text)


def test_mark_is_the_magic_of_the_directory() -> None:
    assert region.MARK == DIRECTORY_MAGIC
