# SPDX-License-Identifier: MIT
"""The host's part of the demonstration, without a guest."""

from __future__ import annotations

import hashlib
import socket
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from ivshmem_virtio.vm.demo_host import (
    check_image,
    console_lines,
    digest_in_image,
    echo_lines,
    make_image,
    web_server,
    write_files,
)
from ivshmem_virtio.vm.errors import GuestTimeout


def test_an_image_holds_its_files_and_damage_is_seen(tmp_path: Path) -> None:
    digests = write_files(tmp_path / "files", seed=7)
    image = tmp_path / "disk.img"
    make_image(image, tmp_path / "files")
    assert check_image(image) == "clean"
    assert {name: digest_in_image(image, name, tmp_path) for name in digests} == digests
    assert digest_in_image(image, "no-such-file", tmp_path) == "absent"
    with image.open("r+b") as damaged:
        damaged.seek(1024 + 0x0C)  # free blocks count of the superblock
        damaged.write(b"\x01\x02\x03\x00")
    assert check_image(image).startswith("status 4")


def test_the_web_server_serves_the_folder(tmp_path: Path) -> None:
    (tmp_path / "download").write_bytes(b"content")
    with web_server(tmp_path) as port, urllib.request.urlopen(f"http://127.0.0.1:{port}/download") as answer:
        assert hashlib.sha256(answer.read()).digest() == hashlib.sha256(b"content").digest()


def _serve_echo(path: Path, change: Callable[[bytes], bytes]) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def serve() -> None:
        with listener:
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(777):
                    connection.sendall(change(data))

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_lines_come_back_as_they_are_or_changed(tmp_path: Path) -> None:
    lines = console_lines(1000, 1)
    assert len(set(lines)) == 1000
    same = _serve_echo(tmp_path / "same", bytes)
    assert echo_lines(tmp_path / "same", lines, 60) == lines
    same.join()
    other = _serve_echo(tmp_path / "other", lambda data: data.replace(b"9", b"8"))
    assert echo_lines(tmp_path / "other", lines, 60) != lines
    other.join()


def test_lost_lines_end_the_wait(tmp_path: Path) -> None:
    loses = _serve_echo(tmp_path / "loses", lambda data: data.replace(b"\n", b""))
    with pytest.raises(GuestTimeout, match="of 3 console lines 0 came back"):
        echo_lines(tmp_path / "loses", [b"a", b"b", b"c"], 1)
    loses.join()
