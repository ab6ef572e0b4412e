# SPDX-License-Identifier: MIT
"""``ivshmem-virtio evil-backend`` towards drivers in user space: it behaves until it is time, and then it does not."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from random import Random

import pytest

from ivshmem_virtio.cli.main import run
from ivshmem_virtio.evil.backend.catalogue import SCENARIOS, playable
from ivshmem_virtio.evil.backend.scenario import PACKED_PREFIX
from ivshmem_virtio.vm.service import ServiceProcess
from tests.peers.plain_region import soon

DEVICES = {
    "blk": 'type = "blk"\nname = "disk"\npath = "disk.img"\nwindow = "2M"',
    "rng": 'type = "rng"\nname = "rng"',
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "disk.img").write_bytes(bytes(4096))
    return tmp_path / "service.toml"


def write(config: Path, *devices: str) -> None:
    tables = "".join(f"[[guest.device]]\n{DEVICES[device]}\n" for device in devices)
    head = f'[service]\nname = "evil-{secrets.token_hex(4)}"\nruntime_dir = "run"\n'
    config.write_text(f'{head}[[guest]]\nname = "guest"\nregion = "8M"\nvectors = 8\n{tables}')


def hostile(config: Path, *arguments: str) -> ServiceProcess:
    return ServiceProcess(["evil-backend", str(config), "--json", *arguments], config.parent)


def frontend(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ivshmem_virtio", "frontend", "--config", str(config), "--seconds", "30"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=120)


def region_of(config: Path) -> Path:
    name: str = tomllib.loads(config.read_text())["service"]["name"]
    return Path(f"/dev/shm/{name}.guest")


def test_it_behaves_until_all_drivers_are_there(config: Path) -> None:
    """Only one of two devices gets a driver, so the scenario never begins."""
    write(config, "blk", "rng")
    with hostile(config, "--scenario", "never-used", "--patience", "60"):
        drawn = frontend(config, "rng", "32")
        assert drawn.returncode == 0, drawn.stderr
        assert drawn.stdout
        assert region_of(config).exists()
    assert not region_of(config).exists()
    assert not (config.parent / "run" / "guest.sock").exists()


@pytest.mark.parametrize(("scenario", "packed"), [("used-id-huge", []), ("packed-used-id-highest", ["rng"])])
def test_then_it_does_not(config: Path, scenario: str, packed: list[str]) -> None:
    write(config, "rng")
    with hostile(config, "--scenario", scenario, "--seed", "3", "--seconds", "1"):
        done = frontend(config, "rng", "100000")
        log = config.parent / "service.log"
        assert soon(lambda: f'"{scenario}"' in log.read_text())
    assert not region_of(config).exists()
    assert done.returncode == 1
    assert done.stderr.startswith("ivshmem-virtio: ")
    assert len(done.stderr.splitlines()) == 1
    (played,) = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert played["scenario"] == scenario
    assert played["running"] == ["rng"]
    assert played["packed"] == packed
    assert played["done"] >= 1


PROMISE = """
import signal
from ivshmem_virtio.evil.backend.interruption import Interruption
interruption = Interruption()
with interruption.allowed():
    pass
signal.raise_signal(signal.{name})
print("tidied up", flush=True)
try:
    with interruption.allowed():
        print("played on")
except KeyboardInterrupt:
    signal.raise_signal(signal.{name})
    print("ended")
"""


@pytest.mark.parametrize("name", [signal.SIGTERM.name, signal.SIGINT.name])
def test_no_signal_keeps_it_from_tidying_up(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROMISE.format(name=name)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["tidied up", "ended"]


def test_names_and_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(playable()) >= 50
    assert all(scenario.about.endswith(".") for scenario in SCENARIOS.values())
    assert run(["evil-backend", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [scenario["name"] for scenario in listed] == list(SCENARIOS)
    writes_next = {scenario["name"] for scenario in listed if scenario["writes_next"]}
    assert writes_next == set(SCENARIOS) - {scenario.name for scenario in playable()}
    assert "descriptor-next-flag-set" in writes_next
    packed = {scenario["name"] for scenario in listed if scenario["packed"]}
    assert packed == {name for name in SCENARIOS if name.startswith(PACKED_PREFIX)}
    assert len(packed) >= 50


def test_unknown_scenario(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(config, "rng")
    assert run(["evil-backend", str(config), "--scenario", "nonsense"]) == 1
    assert capsys.readouterr().err == "ivshmem-virtio: no scenario 'nonsense'; --list shows what there is\n"


def test_the_seed_chooses_the_sample() -> None:
    names = [scenario.name for scenario in playable()]
    assert Random(5).sample(names, 20) == Random(5).sample(names, 20) != Random(6).sample(names, 20)
