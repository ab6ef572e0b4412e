# SPDX-License-Identifier: MIT
"""Keepers are killed and replaced under load: nobody notices the one, everybody waits a moment for the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from statistics import median

import pytest

from ivshmem_virtio.service.config import load_config
from ivshmem_virtio.service.description import DESCRIPTION_MAGIC, SLOT_SIZE, slots
from ivshmem_virtio.transport.driver.blk import BlkDriver
from ivshmem_virtio.transport.kept_layout import STATE_VERSION, StateHeader
from tests.peers.raw_client import RawClient

from .conftest import ConfigWriter
from .loaded_disk import DEPTH, longest_gap, under_load
from .running_service import RunningService, command_line, driving, is_backend, processes_naming, socket_of, wait_until

ROUNDS = 2
MOST_ROUNDS = 10
"""Of what a machine that was busy at that moment may hide."""
VECTORS = 16
DESCRIPTION_FILE = "ivshmem-virtio-description"
NOISE_SECONDS = 0.1
"""By how much two longest gaps may differ on a busy machine; starting a back-end anew takes longer."""


Start = Callable[..., RunningService]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts keepers, which may be killed. The one that lives at the end is ended in order, and leaves no process."""
    started: list[RunningService] = []

    def begin(config: Path, *options: str) -> RunningService:
        started.append(RunningService(config, *options, name=f"keeper{len(started)}"))
        return started[-1]

    yield begin
    statuses = [service.stop() for service in started]
    left = processes_naming(tmp_path)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert set(statuses) <= {0, -signal.SIGKILL}
    assert not left


def start_for_nothing(config: Path) -> None:
    """What the start of a keeper costs this machine, without a keeper."""
    subprocess.run([sys.executable, "-m", "ivshmem_virtio", "serve", "--check", str(config)], check=True, timeout=120)


def service_name(config: Path) -> str:
    return load_config(config, images=False).service.name


def is_vault(pid: int) -> bool:
    return b"service.vault" in command_line(pid)


def vaults(config: Path) -> list[int]:
    return [pid for pid in processes_naming(config.parent / "run") if is_vault(pid)]


def holds_everything(pid: int) -> bool:
    """Whether a vault has a description, which is written when all that it speaks of is there."""
    with suppress(FileNotFoundError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            if DESCRIPTION_FILE in os.readlink(entry):
                with entry.open("rb") as file:
                    return bool(slots(file.fileno()))
    return False


def vault_files(service: RunningService) -> Path:
    return Path(f"/proc/{service.vault}/fd")


def memory_file(service: RunningService, name: str) -> Path:
    """A memory file in the vault, by what it is called."""
    return next(entry for entry in vault_files(service).iterdir() if name in os.readlink(entry))


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), data, offset)


def refused(config: Path, *options: str) -> str:
    """What ``serve`` says when it does not start; one line."""
    command = [sys.executable, "-m", "ivshmem_virtio", "serve", str(config), *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("ivshmem-virtio: ")
    return lines[0]


def test_a_killed_keeper_makes_no_pause(write_config: ConfigWriter, start: Start) -> None:
    config = write_config("web", "db")
    keeper = start(config)
    backends = keeper.children()
    quiet, gaps, starts, takeovers = [], [], [], []
    with under_load(config, "web") as load:
        for done in range(1, MOST_ROUNDS + 1):
            quiet.append(longest_gap(load, lambda: None))
            gaps.append(longest_gap(load, keeper.kill))
            starts.append(longest_gap(load, lambda: start_for_nothing(config), 0.5))
            took: list[RunningService] = []
            takeovers.append(longest_gap(load, lambda took=took: took.append(start(config)), 0.5))  # type: ignore[misc]
            (keeper,) = took
            assert "took over guests web, db" in keeper.said()
            bounds = median(quiet) + NOISE_SECONDS, median(starts) + NOISE_SECONDS
            if done >= ROUNDS and min(gaps) < bounds[0] and min(takeovers) < bounds[1]:
                break
        print(f"longest gaps: quiet {quiet}, keeper killed {gaps}, program started {starts}, takes over {takeovers}")
        assert min(gaps) < bounds[0]
        assert min(takeovers) < bounds[1]
        assert all(is_backend(pid) for pid in backends), "the same back-ends serve throughout"
    # A guest that joins now, and one that came, left, and comes again as the same peer.
    for guest in ("db", "web"):
        with driving(socket_of(config, guest), "disk") as transport:
            assert len(BlkDriver(transport).read(0, 8)) == 4096
    assert "peer 1: left" in keeper.said()
    assert keeper.stop() == 0
    assert not any(is_backend(pid) for pid in backends)
    assert not list(Path("/dev/shm").glob(f"{service_name(config)}*"))
    assert not list((config.parent / "run").glob("*.vault"))


def test_a_backend_that_dies_without_a_keeper_is_started_again(write_config: ConfigWriter, start: Start) -> None:
    config = write_config("web")
    keeper = start(config)
    (backend,) = keeper.children()
    with under_load(config, "web") as load:
        keeper.kill()
        os.kill(backend, signal.SIGKILL)
        wait_until(lambda: not is_backend(backend), "it is dead")
        time.sleep(0.3)
        count = len(load.returned)
        keeper = start(config)
        wait_until(lambda: len(load.returned) > count + DEPTH, "it goes on")
        assert len(keeper.children()) == 1


def test_replace_under_load(write_config: ConfigWriter, start: Start) -> None:
    config = write_config("web", "db", switch=True)
    old = start(config)
    before = old.children()
    with under_load(config, "web") as load:
        write_config("web", "db", "extra", switch=True)
        keepers: list[RunningService] = []
        gap = longest_gap(load, lambda: keepers.append(start(config, "--replace")))
        (new,) = keepers
        said = [line for line in new.said().splitlines() if "served again after" in line]
        print(f"longest gap under --replace: {gap * 1000:.0f} ms", *said, sep="\n")
        assert len(said) == len(before) == 3
        assert old.stop() == 0, "the old one ended in order"
        assert not (config.parent / "keeper0.pid").exists()
        assert len(new.children()) == 4, "three back-ends anew, and one for the guest that is new"
        assert not any(is_backend(pid) for pid in before)
    with driving(socket_of(config, "extra"), "disk") as transport:
        assert len(BlkDriver(transport).read(0, 8)) == 4096


def test_what_cannot_be_taken_over_is_refused_before_anything_is_stopped(
    write_config: ConfigWriter, start: Start
) -> None:
    config = write_config("web")
    text = config.read_text()
    keeper = start(config)
    backends = keeper.children()
    assert f"is kept by process {keeper.pid}" in refused(config)
    with under_load(config, "web") as load:
        state = memory_file(keeper, "ivshmem-virtio-state")
        patch(state, StateHeader.STATE_VERSION, (99).to_bytes(4, "little"))
        assert "version 99" in refused(config, "--replace")
        patch(state, StateHeader.STATE_VERSION, STATE_VERSION.to_bytes(4, "little"))

        config.write_text(text.replace('window = "2M"', 'window = "3M"'))
        assert "guest web: device disk: rw_size cannot change" in refused(config, "--replace")
        config.write_text(text.replace('type = "rng"', 'type = "rong"'))
        assert "rong" in refused(config, "--replace")
        config.write_text(text)

        description = memory_file(keeper, DESCRIPTION_FILE)
        for slot in (0, SLOT_SIZE):
            patch(description, slot + len(DESCRIPTION_MAGIC), (77).to_bytes(4, "little"))
        assert "version 77" in refused(config, "--replace")
        assert longest_gap(load, lambda: None, 0.3) < 10
    keeper.check_alive()
    assert keeper.children() == backends


def test_a_vault_that_is_killed_is_replaced(write_config: ConfigWriter, start: Start) -> None:
    config = write_config("web")
    keeper = start(config)
    vault = keeper.vault
    with under_load(config, "web"):
        os.kill(vault, signal.SIGKILL)
        wait_until(lambda: not is_vault(vault), "it is dead")
        wait_until(lambda: any(holds_everything(pid) for pid in vaults(config)), "there is another, and all is in it")
        keeper.kill()
        assert "took over guests web" in start(config).said()


def test_with_keeper_and_vault_killed_backends_end_and_nothing_is_in_the_way(
    write_config: ConfigWriter, start: Start
) -> None:
    config = write_config("web")
    keeper = start(config)
    pids = keeper.children()
    vault = keeper.vault
    keeper.kill()
    os.kill(vault, signal.SIGKILL)
    wait_until(lambda: not any(is_backend(pid) for pid in pids), "the back-ends have ended too")
    start(config)
    with driving(socket_of(config, "web"), "disk") as transport:
        assert len(BlkDriver(transport).read(0, 1)) == 512


def test_afresh_ends_what_a_dead_keeper_left(write_config: ConfigWriter, start: Start) -> None:
    config = write_config("web")
    keeper = start(config)
    (backend,) = keeper.children()
    assert "end that one first" in refused(config, "--afresh")
    keeper.kill()
    config.write_text(config.read_text().replace('window = "2M"', 'window = "3M"'))
    assert "--afresh" in refused(config)
    assert is_backend(backend)
    start(config, "--afresh")
    assert not is_backend(backend)
    with driving(socket_of(config, "web"), "disk") as transport:
        assert len(BlkDriver(transport).read(0, 1)) == 512


def test_a_guest_that_is_gone_from_the_configuration_ends(write_config: ConfigWriter, start: Start) -> None:
    config = write_config("web", "db", switch=True)
    old = start(config)
    with under_load(config, "web"):
        write_config("web", switch=True)
        new = start(config, "--replace")
        assert old.stop() == 0
        assert "guest db is not in the configuration" in new.said()
        assert len(new.children()) == 2, "the guest's own back-end and the switch"
        assert not socket_of(config, "db").exists()
        names = [path.name.rpartition(".")[2] for path in Path("/dev/shm").glob(f"{service_name(config)}.*")]
        assert names == ["web"]
        write_config("web", "db", switch=True)
        new.reload()
        wait_until(lambda: "guest db added" in new.said(), "it is added again")


@pytest.mark.parametrize("how", ["killed", "replaced"])
def test_a_client_that_was_told_half_is_told_the_rest(write_config: ConfigWriter, start: Start, how: str) -> None:
    config = write_config("web")
    old = start(config)
    with closing(RawClient(socket_of(config, "web"))) as client:
        wait_until(lambda: "joined as peer 1" in old.said(), "it has joined")
        first = client.values(4)
        if how == "killed":
            old.kill()
        new = start(config, *(["--replace"] if how == "replaced" else []))
        values = first + client.values(3 + 2 * VECTORS - len(first))
        assert values == [(0, False), (1, False), (-1, True), *[(0, True)] * VECTORS, *[(1, True)] * VECTORS]
        assert client.quiet()
        assert "let go" not in new.said()
