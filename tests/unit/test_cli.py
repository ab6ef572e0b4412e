# SPDX-License-Identifier: MIT
"""The command line as a whole: help of every command, exit statuses, and what becomes of errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ivshmem_virtio.cli import main as entry
from ivshmem_virtio.cli.commands import COMMANDS
from ivshmem_virtio.cli.main import group, run
from ivshmem_virtio.errors import IvshmemVirtioError
from tests.unit.service_file import ServiceFile

CONTEXT = click.Context(group)


def command(name: str) -> click.Command:
    found = group.get_command(CONTEXT, name)
    assert found is not None
    return found


def leaves() -> Iterator[tuple[str, click.Command]]:
    """Every command and, of those that have some, every subcommand."""
    for name in COMMANDS:
        found = command(name)
        yield name, found
        if isinstance(found, click.Group):
            for inner in found.list_commands(CONTEXT):
                subcommand = found.get_command(CONTEXT, inner)
                assert subcommand is not None
                yield f"{name} {inner}", subcommand


LEAVES = dict(leaves())


@pytest.mark.parametrize("name", LEAVES)
def test_help_describes_the_command_and_every_option(name: str) -> None:
    found = LEAVES[name]
    result = CliRunner().invoke(found, ["--help"])
    assert result.exit_code == 0
    assert found.help is not None
    first = found.help.strip().splitlines()[0]
    assert first.endswith((".", ":")), first
    for parameter in found.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.opts[0] in result.output
            assert parameter.help, f"{name} {parameter.opts[0]} says nothing about itself"
        if isinstance(parameter, click.Argument):
            assert parameter.make_metavar(click.Context(found)).strip("[].") in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_has_a_line_for_each(name: str) -> None:
    result = CliRunner().invoke(group, ["--help"])
    assert f"  {name} " in result.output
    assert COMMANDS[name][2] in " ".join(result.output.split())


def test_help_imports_no_command() -> None:
    """It has to be quick, also where a guest's tools or a compiled core are slow to load."""
    code = (
        "import sys; from ivshmem_virtio.cli.main import run; run(['--help']);"
        "print([m for m in sys.modules if m.startswith(('pydantic', 'rich', 'ivshmem_virtio.core', 'asyncio'))])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert output.splitlines()[-1] == "[]"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("ivshmem-virtio ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-command"], "no-such-command"),
        (["serve"], "CONFIG.toml"),
        (["serve", "--no-such-option", "x"], "--no-such-option"),
        (["inspect", "x", "y", "z"], "z"),
        (["inspect", "x", "--observe", "soon"], "soon"),
        (["attach", "x"], "--socket"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("ivshmem-virtio")
    assert words in line
    assert "--help" in line


def test_no_arguments_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Commands:" in capsys.readouterr().err


class Disaster(IvshmemVirtioError):
    """Something of ours went wrong."""


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (Disaster("two\nlines"), 1, "ivshmem-virtio: two lines"),
        (FileNotFoundError(2, "No such file or directory", "/x"), 1, "ivshmem-virtio: /x: No such file or directory"),
        (OSError("odd"), 1, "ivshmem-virtio: odd"),
        (click.ClickException("plain"), 1, "ivshmem-virtio: plain"),
        (KeyboardInterrupt(), 130, None),
    ],
)
def test_what_becomes_of_errors(
    error: BaseException,
    status: int,
    line: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setitem(COMMANDS, "fail", (__name__, "unused", "Fail."))
    monkeypatch.setattr(entry.group, "get_command", lambda ctx, name: click.Command(name, callback=fail))
    assert run(["fail"]) == status
    assert capsys.readouterr().err.strip() == (line or "")


def test_a_programming_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(entry.group, "get_command", lambda ctx, name: click.Command(name, callback=fail))
    with pytest.raises(ZeroDivisionError):
        run(["fail"])


@pytest.fixture
def service(tmp_path: Path) -> ServiceFile:
    return ServiceFile(tmp_path)


def test_check_prints_the_plan_and_touches_nothing(service: ServiceFile, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--check", str(service.path)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    rows = {line.split()[0]: line.split() for line in captured.out.splitlines() if line.strip()}
    assert rows["root"][:5] == ["root", "blk", "2", "x", "256"]
    assert rows["root"][5:8] == ["0x2000", "16388K", "16M"]
    assert {"directory", "uplink", "serial", "rng", "used", "free", "region"} <= rows.keys()
    assert not (service.folder / "run").exists()
    assert not Path(f"/dev/shm/{service.name}.web").exists()


def test_module_is_the_console_script(service: ServiceFile) -> None:
    command_line = [sys.executable, "-m", "ivshmem_virtio", "serve", "--check", str(service.path)]
    done = subprocess.run(command_line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "uplink" in done.stdout


def test_interrupting_watch_is_quiet(service: ServiceFile) -> None:
    """Control-C ends a looking command without a traceback, and without complaint."""
    service.replace('via = { stream = "passt.sock" }', 'via = { stream = "passt.sock", listen = true }')
    serving = subprocess.Popen(
        [sys.executable, "-m", "ivshmem_virtio", "serve", str(service.path), "--pidfile", str(service.folder / "pid")],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert serving.stderr is not None
    try:
        assert any("READY" in line for line in serving.stderr), "the service did not start"
        looking = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ivshmem_virtio",
                "inspect",
                str(service.path),
                "--watch",
                "--json",
                "--observe",
                "0",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert looking.stdout is not None
        assert looking.stdout.readline().startswith("{")
        looking.send_signal(signal.SIGINT)
        _, complaint = looking.communicate(timeout=60)
        assert looking.returncode == entry.EXIT_INTERRUPTED
        assert complaint.strip() == ""
    finally:
        os.kill(serving.pid, signal.SIGTERM)
        serving.communicate(timeout=60)
    assert serving.returncode == 0
    assert not (service.folder / "pid").exists()
