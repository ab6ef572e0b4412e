# SPDX-License-Identifier: MIT
"""docs/operations.md against the code: every key with its default, every command, every window size."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from ivshmem_virtio.cli.commands import COMMANDS
from ivshmem_virtio.cli.main import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from ivshmem_virtio.service.config import parse_config
from ivshmem_virtio.service.config_blk import BlkConfig
from ivshmem_virtio.service.config_console import ConsoleConfig
from ivshmem_virtio.service.config_device import DeviceTable
from ivshmem_virtio.service.config_devices import RngConfig
from ivshmem_virtio.service.config_fields import Table
from ivshmem_virtio.service.config_models import GuestConfig, ServiceConfig, VmConfig
from ivshmem_virtio.service.config_net import NetConfig
from ivshmem_virtio.service.plan import plan
from ivshmem_virtio.service.size import format_size, parse_size
from tests.unit.protocol_tables import DocumentTable, tables_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
TABLES: dict[str, type[Table]] = {
    "`[service]`": ServiceConfig,
    "`[[guest]]`": GuestConfig,
    "`[guest.vm]`": VmConfig,
    "`[[guest.device]]`, all types": DeviceTable,
    '`type = "blk"`': BlkConfig,
    '`type = "console"`': ConsoleConfig,
    '`type = "net"`': NetConfig,
    '`type = "rng"`': RngConfig,
}
FOLLOWS = {"runtime_dir": "from `name`", "socket": "from `name`", "mac": "from the names"}
"""Keys that validation fills in from others."""
DEVICES = {"blk": 'path = "i"', "console": "", "net": 'via = { tap = "t" }', "rng": ""}


def section(title: str) -> str:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.count(f"# {title}\n") == 1, title
    return re.split(r"^#+ ", text.partition(f"# {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def first_table(title: str) -> DocumentTable:
    return tables_of(section(title))[0]


def default_text(name: str, field: FieldInfo, kind: str) -> str:
    """How the page has to write a default."""
    if name in FOLLOWS:
        return FOLLOWS[name]
    if field.is_required():
        return "required"
    value = field.default
    if value is None:
        return "none"
    if kind == "size":
        return f'`"{format_size(value)}"`'
    if name == "mode":
        return f"`{value:#o}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, VmConfig):
        return "the defaults below"
    if isinstance(value, str | Path):
        return f'`"{value}"`'
    return f"`{list(value) if isinstance(value, tuple) else value}`"


@pytest.mark.parametrize("title", TABLES)
def test_every_key_with_its_default(title: str) -> None:
    model = TABLES[title]
    inherited = DeviceTable.model_fields if model is not DeviceTable and issubclass(model, DeviceTable) else {}
    fields = {field.alias or name: field for name, field in model.model_fields.items() if name not in inherited}
    rows = {row[0].strip("`"): row for row in first_table(title).rows}
    assert rows.keys() == fields.keys()
    for name, field in fields.items():
        named_after_type = model is DeviceTable and name == "name"
        expected = "from `type`" if named_after_type else default_text(name, field, rows[name][1])
        assert rows[name][2] == expected, name


def test_every_command() -> None:
    documented = {row[0].strip("`"): row[1] for row in first_table("Commands").rows}
    assert documented == {name: text for name, (_, _, text) in COMMANDS.items()}


def test_exit_statuses() -> None:
    (table,) = [table for table in tables_of(section("Starting")) if table.head[0] == "exit status"]
    assert [int(row[0]) for row in table.rows] == [0, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED]


@pytest.mark.parametrize("kind", DEVICES)
def test_window_sizes(kind: str, tmp_path: Path) -> None:
    text = f'[service]\nname = "x"\nruntime_dir = "r"\n[[guest]]\nname = "g"\n[[guest.device]]\ntype = "{kind}"\n'
    config = parse_config(text + DEVICES[kind], tmp_path)
    (link,) = plan(config, config.guests[0]).links
    (row,) = [row for row in first_table("Windows").rows if row[0] == f"`{kind}`"]
    queues = link.shape.queue_sizes
    assert row[1] == f"{len(queues)} x {queues[0]}"
    assert parse_size(row[2]) == link.layout.rw_size
    assert parse_size(row[3]) == link.least_window


def test_json_keys_are_documented() -> None:
    """Against the keys that test_inspect.py holds the code to."""
    tables = tables_of(section("When something does not move"))
    found = {table.head[0]: {row[0].strip("`") for row in table.rows} for table in tables}
    assert found["key"] == {"version", "service", "guests"}
    assert found["key of a guest"] == {
        "guest", "region", "socket", "observed_seconds", "status_files", "directory", "links", "findings",
    }  # fmt: skip


def test_the_words_of_the_diagnosis_are_those_of_the_code() -> None:
    """Every quoted message begins as one that the code can print."""
    source = (Path(__file__).parents[2] / "ivshmem_virtio" / "inspect" / "diagnosis.py").read_text(encoding="utf-8")
    (table,) = [table for table in tables_of(section("When something does not move")) if table.head[0] == "it says"]
    for row in table.rows:
        if row[0].startswith("`keeper"):
            continue
        # Capital words stand for numbers and names; what the code puts together is looked for piece by piece.
        for piece in re.split(r"\b[A-Z]+\b|: ", row[0].strip("`"))[1:]:
            assert " ".join(piece.split()[-3:]) in source, row[0]
