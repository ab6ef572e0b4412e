# SPDX-License-Identifier: MIT
"""What a good configuration turns into. What is wrong with bad ones is in test_bad_input.py."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ivshmem_virtio.devices import registry
from ivshmem_virtio.service.config import load_config, parse_config, select_guest, validate
from ivshmem_virtio.service.config_blk import BlkConfig
from ivshmem_virtio.service.config_console import ConsoleConfig
from ivshmem_virtio.service.config_devices import ForeignConfig, RngConfig
from ivshmem_virtio.service.config_errors import ConfigError, NoSuchGuest
from ivshmem_virtio.service.config_net import NetConfig
from ivshmem_virtio.service.duration import parse_duration
from ivshmem_virtio.service.size import format_size, next_power_of_two, parse_size
from tests.unit.service_file import ServiceFile

FOREIGN = '\n  [[guest.device]]\n  type = "tests.unit.foreign_device:Echo"\n  depth = 16\n'


@pytest.fixture
def service(tmp_path: Path) -> ServiceFile:
    return ServiceFile(tmp_path)


def test_the_example_of_the_design(service: ServiceFile) -> None:
    config = service.load()
    (guest,) = config.guests
    assert [device.type for device in guest.devices] == ["blk", "net", "console", "rng"]
    assert [device.name for device in guest.devices] == ["root", "uplink", "serial", "rng"]
    assert guest.region == 64 << 20
    assert config.shared_memory(guest) == f"{service.name}.web"


def test_paths_start_at_the_folder_of_the_file(
    service: ServiceFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    guest = load_config(Path("service.toml")).guests[0]
    disk, net = guest.devices[0], guest.devices[1]
    assert isinstance(disk, BlkConfig)
    assert isinstance(net, NetConfig)
    assert disk.path == tmp_path / "root.img"
    assert net.via.stream == tmp_path / "passt.sock"
    assert guest.socket == tmp_path / "run" / "web.sock"


def test_an_absolute_path_stays(service: ServiceFile, tmp_path: Path) -> None:
    service.replace("vectors = 32", 'socket = "/tmp/elsewhere.sock"')
    assert service.load().guests[0].socket == Path("/tmp/elsewhere.sock")


def test_runtime_folder_of_root_and_of_others(service: ServiceFile, monkeypatch: pytest.MonkeyPatch) -> None:
    service.replace('runtime_dir = "run"\n', "")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert service.load().service.runtime_dir == Path("/run/ivshmem-virtio") / service.name
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert service.load().service.runtime_dir == Path("/run/user/1000/ivshmem-virtio") / service.name
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with pytest.raises(ConfigError, match="service: runtime_dir must be given"):
        service.load()


def test_addresses_are_stable_and_differ(service: ServiceFile) -> None:
    service.append('\n[[guest]]\nname = "db"\n[[guest.device]]\ntype = "net"\nvia = { tap = "tap7" }\n')
    first, second = service.load().guests
    web, db = first.devices[1], second.devices[0]
    assert isinstance(web, NetConfig)
    assert isinstance(db, NetConfig)
    assert web.mac != db.mac
    assert int(web.mac[:2], 16) & 3 == 2, "locally administered, one station"
    again = service.load().guests[0].devices[1]
    assert isinstance(again, NetConfig)
    assert again.mac == web.mac


def test_a_configuration_does_not_change_after_validation(service: ServiceFile) -> None:
    config = service.load()
    with pytest.raises(ValidationError, match="frozen"):
        config.guests[0].name = "other"


def test_switches_are_named_in_the_order_of_the_file(service: ServiceFile) -> None:
    service.replace('{ stream = "passt.sock" }', '{ switch = "lan" }')
    service.append(
        '\n[[guest]]\nname = "db"\n'
        '[[guest.device]]\ntype = "net"\nname = "a"\nvia = { switch = "back" }\n'
        '[[guest.device]]\ntype = "net"\nname = "b"\nvia = { switch = "lan" }\n'
        '[[guest.device]]\ntype = "net"\nname = "c"\nvia = { switch = "back" }\n'
    )
    assert service.load().switches == ("lan", "back")


def test_images_are_not_looked_at_for_who_only_looks(service: ServiceFile) -> None:
    service.image.unlink()
    load_config(service.path, images=False)
    with pytest.raises(ConfigError, match=r"root\.img"):
        service.load()


def test_one_image_may_have_two_readers(service: ServiceFile) -> None:
    service.replace("queues = 2\n", "read_only = true\n")
    service.append('\n  [[guest.device]]\n  type = "blk"\n  name = "same"\n  path = "root.img"\n  read_only = true\n')
    assert len(service.load().guests[0].devices) == 5


def test_select_guest(service: ServiceFile) -> None:
    assert select_guest(service.load(), None).name == "web"
    with pytest.raises(NoSuchGuest, match='no guest "db"; it has: web'):
        select_guest(service.load(), "db")
    service.append('\n[[guest]]\nname = "db"\n[[guest.device]]\ntype = "rng"\n')
    assert select_guest(service.load(), "db").name == "db"
    with pytest.raises(NoSuchGuest, match="web, db"):
        select_guest(service.load(), None)


EVERY_DEVICE = """
[service]
name = "x"
runtime_dir = "run"
[[guest]]
name = "g"
region = "256M"
[[guest.device]]
type = "blk"
path = "disk.img"
queues = 3
queue_size = 128
serial = "S1"
[[guest.device]]
type = "console"
name = "plain"
[[guest.device]]
type = "console"
name = "ported"
via = { pty = "serial" }
ports = [{ name = "org.example.0", via = { socket = "agent.sock" } }, { name = "log", via = { file = "log" } }]
columns = 132
rows = 43
[[guest.device]]
type = "net"
via = { stream = "s.sock", listen = true }
mtu = 1400
queue_size = 64
[[guest.device]]
type = "rng"
bytes_per_second = 1000
"""


@pytest.mark.parametrize("number", range(5))
def test_shapes_are_those_of_the_device_classes(number: int, tmp_path: Path) -> None:
    """A plan is made without devices; this is what keeps it true."""
    (guest,) = parse_config(EVERY_DEVICE, tmp_path).guests
    entry = guest.devices[number]
    device = registry.create(entry.type, entry.name, entry.default_window, entry.keys)
    shape = entry.shape
    assert shape.device_id == device.device_id
    assert shape.queue_sizes == tuple(device.queue_sizes)
    assert len(device.config) <= shape.config_room


def test_defaults_are_those_of_the_file_not_of_the_classes(tmp_path: Path) -> None:
    """Every key a class can take is passed, so the documented default counts, except where None says "none"."""
    guest = parse_config(EVERY_DEVICE, tmp_path).guests[0]
    console, rng = guest.devices[1], guest.devices[4]
    assert isinstance(console, ConsoleConfig)
    assert isinstance(rng, RngConfig)
    assert console.keys == {"via": "pty", "ports": [], "columns": 80, "rows": 25, "queue_size": 64}
    assert rng.keys == {"source": "/dev/urandom", "bytes_per_second": 1000, "queue_size": 64}


def test_a_foreign_device_gets_its_own_keys(service: ServiceFile) -> None:
    service.append(FOREIGN)
    device = service.load().guests[0].devices[-1]
    assert isinstance(device, ForeignConfig)
    assert device.name == "echo"
    assert device.keys == {"depth": 16}
    assert device.shape.queue_sizes == (16,)
    assert device.shape.config_room == 4


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(0, 0), (90, 90), (1.5, 1.5), ("90s", 90), ("250ms", 0.25), ("2m", 120), ("7", 7), (" 1 h", 3600)],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1", -1, "1e3", "8d", 8 * 86400, float("nan"), True, None, [], "1 2"])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match=r"length of time|7 days"):
        parse_duration(text)


def test_time_outs_of_absence(service: ServiceFile) -> None:
    """By type, unless the file says otherwise; the device class does not see them."""
    service.replace('type = "rng"', 'type = "rng"\n  timeout = "3s"')
    devices = {device.type: device for device in service.load().guests[0].devices}
    assert {kind: device.absence for kind, device in devices.items()} == {
        "blk": 90, "net": 10, "console": 10, "rng": 3,
    }  # fmt: skip
    assert all("timeout" not in device.keys for device in devices.values())


@given(st.integers(1, 1 << 50))
def test_sizes_survive_being_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "size"), [("64M", 64 << 20), ("8K", 8192), ("4096", 4096), (512, 512), ("1GiB", 1 << 30), ("2TB", 2 << 40)]
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5M", "64 M", "64m", "0", 0, -4096, True, None, 1.0, "9" * 20])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match=r"must be|is no size"):
        parse_size(text)


@given(st.integers(1, 1 << 60))
def test_next_power_of_two(value: int) -> None:
    found = next_power_of_two(value)
    assert found & (found - 1) == 0
    assert found // 2 < value <= found


KEYS = ["service", "guest", "name", "device", "type", "via", "region", "vm", "window", "ports", "blk", "net", "x"]
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(KEYS)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(TREES)
def test_whatever_a_file_holds_it_is_one_line_of_ours(value: object) -> None:
    """Any tree of values: either a configuration or a ConfigError of one line, never anything else."""
    data = value if isinstance(value, dict) else {"service": {"name": "x", "runtime_dir": "r"}, "guest": value}
    message = ""
    try:
        validate(data, Path("/nowhere"))
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message


def test_the_template_is_toml(service: ServiceFile) -> None:
    assert tomllib.loads(service.text)["guest"][0]["name"] == "web"
