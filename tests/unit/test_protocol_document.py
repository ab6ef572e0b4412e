# SPDX-License-Identifier: MIT
"""docs/protocol.md against the code: what stands in a table stands in the code with the same value, and the reverse."""

from __future__ import annotations

import inspect
import os
import re
from enum import IntEnum, IntFlag
from itertools import pairwise
from types import ModuleType

import pytest

from ivshmem_virtio.core import Window
from ivshmem_virtio.link import layout
from ivshmem_virtio.link.layout import (
    BackendLine,
    Capability,
    Directory,
    Entry,
    EntryState,
    FrontendLine,
    Header,
    Owner,
    QueueLine,
    SplitPlacement,
    State,
    ring_block_length,
    round_up,
)
from ivshmem_virtio.link.registers import RegisterMap
from ivshmem_virtio.transport import features, transaction
from ivshmem_virtio.transport import kept_layout as state
from ivshmem_virtio.transport.kept_layout import (
    CopiedDescriptor,
    InFlightRecord,
    LinkRecord,
    QueueRecord,
    RingLayout,
    StateHeader,
)
from ivshmem_virtio.transport.queue_state import QueueState
from ivshmem_virtio.transport.registers import Registers
from tests.unit import protocol_tables

OFFSETS: dict[str, type[IntEnum]] = {
    "field": Directory,
    "entry field": Entry,
    "header field": Header,
    "line 0 field": BackendLine,
    "line 1 field": FrontendLine,
    "queue line field": QueueLine,
    "state field": StateHeader,
    "link record field": LinkRecord,
    "queue record field": QueueRecord,
    "in-flight record field": InFlightRecord,
    "copied descriptor field": CopiedDescriptor,
}
VALUES: dict[str, type[IntEnum] | type[IntFlag]] = {"state": State, "capability": Capability}
IN_A_CELL: dict[tuple[str, str], type[IntEnum]] = {
    ("entry field", "state"): EntryState,
    ("queue line field", "owner"): Owner,
    ("queue record field", "ring_layout"): RingLayout,
}
ROOM = {"field": 0x40, "entry field": layout.DIRECTORY_ENTRY_SIZE, "line 0 field": 64, "line 1 field": 64,
        "queue line field": 64, "state field": 0x40, "link record field": state.LINK_RECORD_SIZE,
        "queue record field": state.QUEUE_RECORD_SIZE,
        "in-flight record field": state.IN_FLIGHT_RECORD_SIZE,
        "copied descriptor field": state.COPY_SIZE}  # fmt: skip
ONE_OF_EACH = re.compile(r"(\d+) ([a-z][a-z' -]*?)(?:,|$)")


def code_name(words: str) -> str:
    return re.sub(r"[^A-Z0-9]+", "_", words.upper())


def cell(column: str, name: str) -> str:
    """The last cell of a field's row: its meaning."""
    (field,) = [field for field in protocol_tables.fields(column) if field.name == name]
    return field.row[-1]


@pytest.mark.parametrize("column", OFFSETS)
def test_offsets_are_those_of_the_code(column: str) -> None:
    documented = {code_name(field.name): field.offset for field in protocol_tables.fields(column)}
    # The records behind a queue record are no field of it; their place is checked below.
    documented.pop("IN_FLIGHT_RECORDS", None)
    assert documented == {member.name: member.value for member in OFFSETS[column]}


@pytest.mark.parametrize("column", OFFSETS)
def test_fields_follow_each_other_without_overlap(column: str) -> None:
    fields = [field for field in protocol_tables.fields(column) if field.size is not None]
    for field, following in pairwise(fields):
        assert field.size is not None
        assert field.offset + field.size <= following.offset, field.name
    for field in fields:
        assert field.size is not None
        assert field.offset % min(field.size, 8) == 0, f"{field.name} is not naturally aligned"
    if column in ROOM:
        assert fields[-1].offset + (fields[-1].size or 0) <= ROOM[column]


@pytest.mark.parametrize("column", VALUES)
def test_values_are_those_of_the_code(column: str) -> None:
    found = protocol_tables.table(column=column)
    documented = {code_name(row[1]): int(row[0]) for row in found.rows}
    kind = VALUES[column]
    in_code = {
        name: int(m).bit_length() - 1 if issubclass(kind, IntFlag) else int(m) for name, m in kind.__members__.items()
    }
    assert documented == in_code


@pytest.mark.parametrize(("column", "name"), IN_A_CELL)
def test_values_listed_in_a_cell_are_those_of_the_code(column: str, name: str) -> None:
    words = cell(column, name).partition(":")[2] or cell(column, name)
    documented = {int(number): code_name(meaning) for number, meaning in ONE_OF_EACH.findall(words.partition(";")[0])}
    in_code = {int(member): member.name for member in IN_A_CELL[column, name]}
    assert documented.keys() == in_code.keys()
    for number, meaning in documented.items():
        assert meaning.replace("_", "").startswith(in_code[number].replace("_", ""))


def test_no_table_of_offsets_escapes() -> None:
    third = {found.head[2] for found in protocol_tables.tables() if found.head[0] == "off"}
    assert third == set(OFFSETS)


@pytest.mark.parametrize("module", [layout, state])
def test_no_class_of_numbers_escapes(module: ModuleType) -> None:
    classes = {
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, IntEnum | IntFlag) and kind.__module__ == module.__name__
    }
    assert classes <= {*OFFSETS.values(), *VALUES.values(), *IN_A_CELL.values()}


def test_directory_numbers() -> None:
    assert layout.DIRECTORY_MAGIC.decode() in cell("field", "magic")
    assert int(cell("field", "version")) == layout.DIRECTORY_VERSION
    assert int(cell("field", "entry_size")) == layout.DIRECTORY_ENTRY_SIZE
    assert f"Entry `i` is at `{layout.DIRECTORY_FIRST_ENTRY:X} + i * entry_size`" in protocol_tables.text()
    assert f"multiple of {layout.PAGE_SIZE}" in cell("field", "directory_size")
    assert layout.DIRECTORY_SIZE % layout.PAGE_SIZE == 0
    assert f"at least {layout.MINIMUM_WINDOW}" in cell("entry field", "rw_size")
    (name,) = [field for field in protocol_tables.fields("entry field") if field.name == "name"]
    assert name.size == layout.ENTRY_NAME_SIZE


def test_header_numbers() -> None:
    assert int(cell("header field", "revision").partition(";")[0]) == layout.REVISION
    assert f"units of {layout.LINE_SIZE} bytes" in cell("header field", "ext_offset")
    assert f"in lines of {layout.LINE_SIZE} bytes" in protocol_tables.text()


def test_fields_a_driver_writes_have_their_documented_size() -> None:
    by_transaction = {
        field.offset: field.size
        for field in protocol_tables.fields("header field")
        if "transaction" in field.row[3] and field.name != "config"
    }
    assert by_transaction == {int(offset): sizes[0] for offset, sizes in transaction.SIZES.items()}


def test_transaction_word() -> None:
    bits = {row[1]: tuple(map(int, row[0].split(":"))) for row in protocol_tables.table(column="part").rows}
    word = transaction.Transaction.of(0x1234, 8, 0xABC).word
    for part, value in {"offset": 0x1234, "size": 8, "sequence": 0xABC}.items():
        high, low = bits[part]
        assert word >> low & (1 << high - low + 1) - 1 == value


def test_place_of_the_extension() -> None:
    """Line 0, line 1, event bytes from line 2 on, then a line for each queue."""
    registers = RegisterMap.of(70, [8] * 65)
    line = layout.LINE_SIZE
    assert registers.backend_line == round_up(Header.CONFIG + 70, line)
    assert registers.frontend_line == registers.backend_line + line
    assert registers.event_byte(3) == registers.backend_line + 2 * line + 3
    assert registers.queue_line(0) == registers.backend_line + 4 * line, "65 event bytes take two lines"
    assert registers.queue_line(2) == registers.queue_line(0) + 2 * line


@pytest.mark.parametrize("size", [2, 4, 8, 64, 256, 32768])
def test_ring_block(size: int) -> None:
    """Section 6, "ring block": the offsets it gives for both layouts fit into the block."""
    split = SplitPlacement.at(0x1000, size)
    assert split.desc == 0x1000
    assert split.driver == 0x1000 + 16 * size
    assert split.device == round_up(split.driver + 6 + 2 * size, 64)
    length = ring_block_length(size)
    assert split.device + 6 + 8 * size <= 0x1000 + length
    assert round_up(16 * size, 64) + 64 + 4 <= length
    assert length % 64 == 0


def test_feature_bits_every_device_offers() -> None:
    sentence = protocol_tables.text().partition("Feature bits every device offers:")[2].partition("\n\n")[0]
    documented = {name: int(bit) for name, bit in re.findall(r"VIRTIO_F_(\w+) \((\d+)\)", sentence)}
    assert documented == {feature.name: int(feature).bit_length() - 1 for feature in features.OFFERED}
    required = sentence.rpartition(". ")[2]
    assert {feature.name for feature in features.REQUIRED} == set(re.findall(r"[A-Z]+_[A-Z0-9]+", required)) - {
        "FEATURES_OK"
    }


def test_state_object_numbers() -> None:
    text = protocol_tables.text()
    assert state.STATE_MAGIC.decode() in cell("state field", "state_magic")
    assert int(cell("state field", "state_version")) == state.STATE_VERSION
    assert f"Link records follow at {state.STATE_FIRST_LINK:X}, each {state.LINK_RECORD_SIZE} bytes" in text
    identity, *_ = [field for field in protocol_tables.fields("state field") if field.name == "identity"]
    assert identity.size == state.IDENTITY_SIZE
    (records,) = [field for field in protocol_tables.fields("queue record field") if field.name == "in-flight records"]
    assert records.offset == state.QUEUE_RECORD_SIZE
    assert records.row[1] == f"{state.IN_FLIGHT_RECORD_SIZE} each"


class RecordingWindow(Window):
    """A window that notes where, and how wide, each single word was loaded or stored."""

    def __init__(self, fd: int, offset: int, length: int) -> None:
        # The compiled base takes its arguments when the object is created.
        self.words: set[tuple[int, int]] = set()

    def load16(self, offset: int) -> int:
        self.words.add((offset, 2))
        return super().load16(offset)

    def load32(self, offset: int) -> int:
        self.words.add((offset, 4))
        return super().load32(offset)

    def load64(self, offset: int) -> int:
        self.words.add((offset, 8))
        return super().load64(offset)

    def store8(self, offset: int, value: int) -> None:
        self.words.add((offset, 1))
        super().store8(offset, value)

    def store16(self, offset: int, value: int) -> None:
        self.words.add((offset, 2))
        super().store16(offset, value)

    def store32(self, offset: int, value: int) -> None:
        self.words.add((offset, 4))
        super().store32(offset, value)

    def store64(self, offset: int, value: int) -> None:
        self.words.add((offset, 8))
        super().store64(offset, value)


def test_the_device_side_uses_every_field_in_its_documented_size() -> None:
    memory = os.memfd_create("registers")
    os.ftruncate(memory, 1 << 16)
    window = RecordingWindow(memory, 0, 1 << 16)
    os.close(memory)
    registers = Registers(window, RegisterMap.of(8, [4]))
    queue = QueueState(0, 4, 0, registers.layout.ring_block(0)[0])
    registers.publish(1, 2, bytes(8), [queue])
    registers.show_queue(queue)
    registers.show_features(0)
    registers.show_status(0)
    registers.show_config(bytes(8))
    registers.raise_config_event()
    registers.raise_queue_event(0)
    registers.acknowledge(1)
    registers.beat()
    registers.incarnation()
    window.store32(registers.layout.frontend_line + FrontendLine.CAPABILITIES, 1)
    registers.claimed_peer()
    registers.frontend_config_vector()
    starts = {
        "header field": 0,
        "line 0 field": registers.layout.backend_line,
        "line 1 field": registers.layout.frontend_line,
        "queue line field": registers.layout.queue_line(0),
    }
    documented = {
        (start + field.offset, field.size)
        for column, start in starts.items()
        for field in protocol_tables.fields(column)
    }
    assert window.words - {(registers.layout.event_byte(0), 1)} <= documented
    assert len(window.words) > 20
