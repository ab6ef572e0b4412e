# SPDX-License-Identifier: MIT
"""Bad input of every kind through the real command line: a status, one line that names the thing, no traceback."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ivshmem_virtio.cli.main import run
from tests.unit.bad_configurations import CASES as CONFIGURATIONS
from tests.unit.bad_world import BadWorld, Outcome, Spoil

NO_VERSION = struct.pack("<q", 77)
TOO_LONG = "s" * 120


@pytest.fixture
def world() -> Iterator[BadWorld]:
    made = BadWorld()
    yield made
    made.close()


def check(outcome: Outcome, words: str) -> None:
    assert outcome.status in (1, 2), outcome
    (line,) = outcome.complaints
    assert line.startswith("ivshmem-virtio")
    assert words in line, line
    assert "Traceback" not in "".join(outcome.log)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_bad_configuration(name: str, world: BadWorld, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, words = CONFIGURATIONS[name]
    spoil(world)
    status = run(["serve", "--check", world.config])
    captured = capsys.readouterr()
    outcome = Outcome.of(status, captured.out, captured.err)
    check(outcome, words)
    assert world.config in outcome.complaints[0], "the message names the file"
    assert outcome.output == ""
    assert not world.region_path.exists()


def test_the_good_configuration_is_good(world: BadWorld) -> None:
    """Else all of the above could fail for one and the same wrong reason."""
    assert run(["serve", "--check", world.config]) == 0


@dataclass(frozen=True)
class Case:
    """``arguments`` of the command, after ``spoil``. ``{config}``, ``{socket}``, ``{folder}``: what the world has."""

    arguments: str
    words: str
    spoil: Spoil = lambda world: None
    ordinary: bool = False


def attach(world: BadWorld, size: str, vectors: int) -> None:
    world.start_server("-l", size, "-n", str(vectors))


CASES: dict[str, Case] = {
    # serve: the host
    "image in use": Case("serve {config}", "root.img", lambda w: w.lock_image()),
    "service runs already": Case("serve {config}", "is kept by process", lambda w: w.start_service()),
    "foreign file in shm": Case("serve {config}", "no region of ours", lambda w: w.leave_in_shm(b"mine" * 1024)),
    "folder in shm": Case("serve {config}", "/dev/shm", lambda w: w.folder_in_shm()),
    "runtime folder is a file": Case("serve {config}", "run", lambda w: (w.folder / "run").write_text("")),
    "runtime folder impossible": Case("serve {config}", "/proc/none", lambda w: w.change('"run"', '"/proc/none"')),
    "file where the socket goes": Case("serve {config}", "x.sock", lambda w: w.use_socket().socket.write_text("mine")),
    "somebody's socket": Case("serve {config}", "x.sock", lambda w: w.use_socket().listen(b"")),
    "socket folder missing": Case(
        "serve {config}", "nowhere", lambda w: w.change("vectors = 32", 'socket = "nowhere/x.sock"')
    ),
    "no such source": Case(
        "serve {config}", "nothing-here", lambda w: w.change('type = "rng"', 'type = "rng"\n  source = "nothing-here"')
    ),
    "terminal link in a missing folder": Case(
        "serve {config}", "nowhere", lambda w: w.change('via = "pty"', 'via = { pty = "nowhere/link" }')
    ),
    "pid file in a missing folder": Case("serve {config} --pidfile {folder}/none/pid", "none/pid"),
    "pid file is a folder": Case("serve {config} --pidfile {folder}", "--pidfile"),
    "trace in a missing folder": Case("serve {config} --trace {folder}/none/trace", "none/trace"),
    "more than shm holds": Case("serve {config}", "no room", lambda w: w.change('"64M"', '"1T"')),
    # permissions
    "image unreadable": Case("serve {config}", "cannot be read", lambda w: w.file.image.chmod(0), ordinary=True),
    "image unwritable": Case("serve {config}", "cannot be written", lambda w: w.file.image.chmod(0o444), ordinary=True),
    "configuration unreadable": Case(
        "serve {config}", "Permission denied", lambda w: w.file.path.chmod(0), ordinary=True
    ),
    "runtime folder forbidden": Case(
        "serve {config}", "Permission denied", lambda w: w.folder.chmod(0o555), ordinary=True
    ),
    "region of somebody else": Case(
        "inspect {config}", "Permission denied", lambda w: w.leave_in_shm(bytes(4096), 0), ordinary=True
    ),
    # attach and frontend
    "attach to nothing": Case("attach {config} --socket {socket}", "x.sock"),
    "attach to a file": Case("attach {config} --socket {config}", "service.toml"),
    "attach to what hangs up": Case("attach {config} --socket {socket}", "the server closed", lambda w: w.listen(b"")),
    "attach to another protocol": Case("attach {config} --socket {socket}", "77", lambda w: w.listen(NO_VERSION)),
    "attach to a smaller region": Case("attach {config} --socket {socket}", "4M", lambda w: attach(w, "4M", 32)),
    "attach with fewer vectors": Case("attach {config} --socket {socket}", "vectors", lambda w: attach(w, "64M", 2)),
    "attach as an unknown guest": Case("attach {config} --socket {socket} --guest db", 'no guest "db"'),
    "attach without a socket": Case("attach {config}", "--socket"),
    "front-end of nothing": Case("frontend --socket {socket} rng 8", "x.sock"),
    "front-end without a server": Case("frontend rng 8", "--socket"),
    "front-end of an unknown guest": Case("frontend --config {config} --guest db rng 8", 'no guest "db"'),
    "front-end of another protocol": Case("frontend --socket {socket} rng 8", "77", lambda w: w.listen(NO_VERSION)),
    "front-end of an unknown link": Case(
        "frontend --config {config} --link nope rng 8", "nope", lambda w: w.start_service()
    ),
    # server
    "server of an odd size": Case("server -S {socket} -l 3M", "power of two"),
    "server of no size": Case("server -S {socket} -l big", "big"),
    "server with a path too long": Case(f"server -S {{folder}}/{TOO_LONG} -l 4M", TOO_LONG),
    "server without a socket": Case("server -l 4M", "socket"),
    "server in a missing folder": Case("server -S {folder}/none/x -l 4M", "none/x"),
    "server with an odd name": Case("server -S {socket} -M a/b -l 4M", "a/b"),
    "server without vectors": Case("server -S {socket} -n 0", "0"),
    # inspect, run, qemu-args
    "inspect nothing": Case("inspect {config}", "there is no region"),
    "inspect another size": Case("inspect {config}", "configuration says 64M", lambda w: w.keep_region(1 << 20)),
    "inspect an unknown guest": Case("inspect {config} db", 'no guest "db"; it has: web'),
    "arguments of an unknown guest": Case("qemu-args {config} --guest db", 'no guest "db"'),
    "run without a file": Case("run {folder}/none.toml", "none.toml"),
    "shell of an unknown guest": Case("shell {config} --guest db", 'no guest "db"'),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, world: BadWorld) -> None:
    case = CASES[name]
    if case.ordinary and os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("file modes do not count for root without setpriv (util-linux); runs where that is installed")
    case.spoil(world)
    places = {"config": world.config, "socket": world.socket, "folder": world.folder}
    arguments = [word.format(**places) for word in case.arguments.split()]
    check(world.run(arguments, ordinary=case.ordinary), case.words)
