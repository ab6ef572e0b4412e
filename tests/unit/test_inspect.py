# SPDX-License-Identifier: MIT
"""What the inspector makes of a region: every rule of the diagnosis against words put there on purpose."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ivshmem_virtio.cli.main import run
from ivshmem_virtio.inspect.diagnosis import BACK_END, FRONT_END, NOBODY, Finding, diagnose
from ivshmem_virtio.inspect.guest_view import GuestView, view_guest
from ivshmem_virtio.inspect.names import (
    field_name,
    holds_empty_buffers,
    owner_name,
    queue_name,
    state_name,
    status_names,
)
from ivshmem_virtio.inspect.status_file import read_status
from ivshmem_virtio.link.layout import (
    BACKEND,
    FRONTEND,
    OWNER_BITS,
    BackendLine,
    FrontendLine,
    Header,
    Owner,
    SplitPlacement,
)
from ivshmem_virtio.service.config import Config
from ivshmem_virtio.transport.transaction import Transaction
from tests.unit.crafted_region import CraftedLink, CraftedRegion
from tests.unit.service_file import ServiceFile

ROOT = 0


@pytest.fixture
def service(tmp_path: Path) -> ServiceFile:
    file = ServiceFile(tmp_path)
    file.replace("queues = 2\n", "")
    return file


@pytest.fixture
def config(service: ServiceFile) -> Config:
    return service.load()


@pytest.fixture
def region(config: Config) -> Iterator[CraftedRegion]:
    crafted = CraftedRegion(config)
    yield crafted
    crafted.close()


@pytest.fixture
def root(region: CraftedRegion) -> CraftedLink:
    return region.links["root"]


def look(config: Config) -> GuestView:
    return view_guest(config, config.guests[0], 0)


def due(config: Config, link: int = ROOT) -> list[tuple[str, str]]:
    return [(finding.who, finding.text) for finding in look(config).due[link]]


def test_nothing_due(config: Config, region: CraftedRegion) -> None:
    view = look(config)
    assert list(view.due) == [(Finding(NOBODY, "both sides are up and nothing is due"),)] * 4
    assert not view.directory.problems
    assert [entry.differences for entry in view.directory.entries] == [()] * 4
    link = view.links[ROOT]
    assert (link.backend_state, link.frontend_state, link.revision) == (1, 1, 2)
    assert link.backend is not None
    assert link.frontend is not None
    assert link.backend.acknowledged == link.frontend.incarnation


def transaction(link: CraftedLink) -> None:
    link.window.store32(Header.WRITE_TRANSACTION, Transaction.of(Header.QUEUE_ENABLE, 2, 5).word)


def config_write(link: CraftedLink) -> None:
    link.window.store32(Header.WRITE_TRANSACTION, Transaction.of(Header.CONFIG + 8, 4, 5).word)


CASES: list[tuple[str, Callable[[CraftedLink], None], str, str]] = [
    ("back-end left", lambda link: link.set_state(BACKEND, 0), BACK_END, "absent: it left"),
    ("it waits", lambda link: link.set_state(BACKEND, 0), BACK_END, "the front-end waits for it"),
    ("no front-end", lambda link: link.set_state(FRONTEND, 0), FRONT_END, "absent: the back-end waits for a driver"),
    ("resuming", lambda link: link.set_state(BACKEND, 2), BACK_END, "resuming: it redoes what was in flight"),
    ("odd state", lambda link: link.set_state(FRONTEND, 77), FRONT_END, "invalid (77)"),
    ("front-end resuming", lambda link: link.set_state(FRONTEND, 2), FRONT_END, "its state is resuming; 0 and 1"),
    ("incarnation", lambda link: link.registers.acknowledge(1), BACK_END, "acknowledgement of incarnation 0x1ca2"),
    ("transaction", transaction, BACK_END, "owes the answer to a write of queue_enable"),
    ("configuration write", config_write, BACK_END, "owes the answer to a write of config+0x8"),
    ("needs reset", lambda link: link.registers.show_status(15 | 64), FRONT_END, "owes a reset"),
    ("failed", lambda link: link.registers.show_status(3 | 128), FRONT_END, "gave up on the device (FAILED)"),
    ("no driver", lambda link: link.registers.show_status(1), FRONT_END, "no virtio driver took the device"),
    ("features", lambda link: link.registers.show_status(3), FRONT_END, "has still to settle features"),
    ("set-up", lambda link: link.registers.show_status(11), FRONT_END, "has still to finish its set-up"),
    ("configuration", lambda link: link.registers.raise_config_event(), FRONT_END, "look at a configuration change"),
    ("event byte", lambda link: link.registers.raise_queue_event(0), FRONT_END, "queue 0 (request): has still to look"),
    ("stand-in", lambda link: link.own(0, Owner.FRONTEND), FRONT_END, "queue 0 (request): its stand-in has the ring"),
    ("requests", lambda link: link.set_indices(0, 7, 4), BACK_END, "queue 0 (request): owes 3 answers"),
    ("wrapped", lambda link: link.set_indices(0, 2, 65534), BACK_END, "queue 0 (request): owes 4 answers"),
    ("used ahead", lambda link: link.set_indices(0, 4, 7), FRONT_END, "further apart than 256 entries"),
    ("revision 0", lambda link: link.window.store32(Header.REVISION, 0), BACK_END, "its header cannot be used"),
    ("size", lambda link: link.window.store32(Header.SIZE, 1 << 31), BACK_END, "header size 0x80000000"),
    ("extension", lambda link: link.window.store16(Header.EXT_OFFSET, 0xFFFF), BACK_END, "its header cannot be used"),
    ("epoch", lambda link: link.window.store64(link.map.backend_line + BackendLine.EPOCH, 0), BACK_END, "epoch is 0"),
]


@pytest.mark.parametrize(("make", "who", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_who_owes_what(
    make: Callable[[CraftedLink], None], who: str, words: str, config: Config, root: CraftedLink
) -> None:
    make(root)
    found = due(config)
    assert [text for name, text in found if name == who and words in text], found
    assert due(config, link=3) == [(NOBODY, "both sides are up and nothing is due")], "another link is not affected"


def test_a_back_end_that_was_never_there(config: Config, root: CraftedLink) -> None:
    root.set_state(BACKEND, 0)
    root.window.zero(0, root.map.reserved)
    ((who, text),) = due(config)
    assert who == BACK_END
    assert text == "absent: it has never been here; the front-end waits for it"


def test_empty_receive_buffers_are_nobodys_debt(config: Config, region: CraftedRegion) -> None:
    region.links["uplink"].set_indices(0, 200, 0)
    region.links["serial"].set_indices(0, 64, 0)
    assert due(config, 1) == due(config, 2) == [(NOBODY, "both sides are up and nothing is due")]
    region.links["uplink"].set_indices(1, 3, 0)
    assert due(config, 1) == [(BACK_END, "queue 1 (transmit): owes 3 answers")]


def test_requests_of_a_device_that_is_not_ready_are_not_due(config: Config, root: CraftedLink) -> None:
    root.set_indices(0, 5, 0)
    root.registers.show_status(11)
    assert due(config) == [(FRONT_END, "has still to finish its set-up (DRIVER_OK)")]


def test_what_moves_between_two_looks(config: Config, root: CraftedLink) -> None:
    root.set_indices(0, 5, 2)
    before = look(config).links[ROOT]
    stuck = [finding.text for finding in diagnose(look(config).links[ROOT], before)]
    assert any("heartbeat stands still" in text for text in stuck)
    assert any("owes 3 answers, none came meanwhile" in text for text in stuck)
    root.registers.beat()
    root.set_indices(0, 6, 3)
    moving = [finding.text for finding in diagnose(look(config).links[ROOT], before)]
    assert moving == ["queue 0 (request): owes 3 answers"]


def test_a_restarted_back_end_may_count_from_anywhere(config: Config, root: CraftedLink) -> None:
    before = look(config).links[ROOT]
    root.window.store64(root.map.backend_line + BackendLine.SESSION, 0x77)
    assert diagnose(look(config).links[ROOT], before) == [Finding(NOBODY, "both sides are up and nothing is due")]


def test_a_kick_that_was_not_heard(config: Config, root: CraftedLink) -> None:
    """The driver passed the index at which the device wants to be rung, and nothing has moved since."""
    root.set_indices(0, 5, 2)
    root.window.store16(root.queues[0].device + 4 + 8 * 256, 2)
    before = look(config).links[ROOT]
    texts = [finding.text for finding in diagnose(look(config).links[ROOT], before)]
    assert (
        "queue 0 (request): owes 3 answers, none came meanwhile; it has not looked since it was last to be rung"
        in texts
    )


def test_rings_are_found_through_header_and_ring_blocks(config: Config, region: CraftedRegion) -> None:
    receive, transmit = look(config).links[1].queues
    assert receive.place is not None
    assert transmit.place is not None
    assert (receive.place.source, receive.place.enabled) == ("header", True)
    assert (transmit.place.source, transmit.place.enabled, transmit.place.size) == ("ring block", None, 256)
    start, _ = region.links["uplink"].map.ring_block(1)
    assert transmit.place.driver == SplitPlacement.at(start, 256).driver


def test_a_ring_block_outside_the_registers_is_a_problem_not_an_access(config: Config, region: CraftedRegion) -> None:
    link = region.links["uplink"]
    link.window.store64(link.map.queue_line(1) + 8, 1 << 40)
    transmit = look(config).links[1].queues[1]
    assert transmit.indices is None
    assert transmit.problem is not None
    assert "ring block of queue 1" in transmit.problem


def write_status(config: Config, **changes: Any) -> Path:
    queue = {"index": 0, "size": 16, "desc": 0x100000, "driver": 0x100100, "device": 0x100200, "enabled": 1}
    link = {"name": "root", "device_id": 2, "offered": 1 << 32 | 1 << 9, "features": 1 << 32, "queues": [queue]}
    path = config.status_file(config.guests[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"guest": "web", "pid": os.getpid(), "links": [link], **changes}))
    return path


def test_the_status_file_tells_features_and_addresses(config: Config, root: CraftedLink) -> None:
    write_status(config)
    root.window.store16(0x100102, 3)
    root.window.store16(0x100202, 1)
    link = look(config).links[ROOT]
    assert link.features.accepted == ("VERSION_1",)
    assert link.features.offered == ("FLUSH", "VERSION_1")
    (queue,) = link.queues
    assert queue.place is not None
    assert queue.indices is not None
    assert (queue.place.source, queue.place.size, queue.indices.outstanding) == ("status file", 16, 2)


def test_counters_of_an_engine_are_shown(
    service: ServiceFile, region: CraftedRegion, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = {"index": 0, "size": 16, "desc": 0x100000, "driver": 0x100100, "device": 0x100200, "enabled": 1}
    counted = {**queue, "counters": {"chains": 12345, "worker_sleeps": 7}}
    write_status(config, links=[{"name": "root", "device_id": 2, "queues": [counted]}])
    assert look(config).links[ROOT].queues[0].counters == {"chains": 12345, "worker_sleeps": 7}
    assert run(["inspect", str(service.path), "--observe", "0"]) == 0
    assert "queue 0: chains 12,345, worker sleeps 7" in capsys.readouterr().out


def test_without_a_status_file_that_is_said(config: Config, root: CraftedLink) -> None:
    root.registers.show_features(1 << 5)
    view = look(config)
    assert view.links[ROOT].features.accepted is None
    assert view.links[ROOT].features.offered == ("RO",)
    assert not view.links[ROOT].features.complete
    assert any("no status file" in finding.text for finding in view.general)


def test_a_dead_back_ends_status_file_does_not_count(config: Config, region: CraftedRegion) -> None:
    write_status(config, pid=2**22 + 1)
    view = look(config)
    assert view.links[ROOT].features.accepted is None
    assert any("is gone" in finding.text for finding in view.general)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"guest": 1}', b'{"guest":"web","pid":1,"links":[{}]}', b"\xff"]
)
def test_a_broken_status_file_is_as_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "status").write_bytes(content)
    assert read_status(tmp_path / "status") is None
    assert read_status(tmp_path / "missing") is None


WHY = "image root.img does not exist"


def test_a_device_that_cannot_be_opened_is_named_as_the_reason(config: Config, root: CraftedLink) -> None:
    root.set_state(BACKEND, 0)
    write_status(config, links=[{"name": "root", "device_id": 2, "served_by": "nobody", "trouble": WHY}])
    expected = f"absent: its device cannot be opened, and is tried again: {WHY}; the front-end waits for it"
    assert due(config) == [(BACK_END, expected)]
    assert look(config).links[ROOT].features.accepted is None


def test_errors_in_the_place_of_a_device(config: Config, root: CraftedLink) -> None:
    write_status(config, links=[{"name": "root", "device_id": 2, "served_by": "errors", "trouble": WHY}])
    expected = f"answers requests with errors, as its device cannot be opened: {WHY}"
    assert due(config) == [(BACK_END, expected)]


def test_addresses_of_a_status_file_are_checked_too(config: Config, region: CraftedRegion) -> None:
    queue = {"index": 0, "size": 16, "desc": 0, "driver": 1 << 62, "device": 3, "enabled": 1}
    write_status(config, links=[{"name": "root", "device_id": 2, "queues": [queue]}])
    (queue_view,) = look(config).links[ROOT].queues
    assert queue_view.problem is not None


def test_the_directory_is_held_against_the_configuration(config: Config, region: CraftedRegion) -> None:
    region.store(0x40 + 0x0C, (9).to_bytes(4, "little"))
    region.store(0x40 + 64 + 0x30, b"other".ljust(16, b"\0"))
    view = look(config)
    first, second, *_ = view.directory.entries
    (difference,) = first.differences
    assert difference.startswith("backend_peer 9, configured 0 (")
    assert (second.name, second.differences) == ("other", ("not configured",))
    assert view.directory.problems == ('link "uplink" is configured and not in the directory',)
    assert any("backend_peer 9" in finding.text for finding in view.general)


def test_a_region_without_a_directory_is_shown_all_the_same(config: Config, region: CraftedRegion) -> None:
    region.store(0, bytes(8))
    view = look(config)
    assert view.directory.entries == ()
    assert "no directory" in view.directory.problems[0]
    assert len(view.links) == 4, "the layout comes from the configuration"


def test_a_region_that_somebody_else_keeps(service: ServiceFile, tmp_path: Path, region: CraftedRegion) -> None:
    (tmp_path / "other").mkdir()
    other = ServiceFile(tmp_path / "other")
    other.replace("queues = 2\n", "")
    assert run(["inspect", str(other.path), "--observe", "0"]) == 1
    place = f"/dev/shm/{region.region.name}"
    assert run(["inspect", str(other.path), "--observe", "0", "--region", place]) == 0


def test_looking_changes_nothing(service: ServiceFile, region: CraftedRegion) -> None:
    before = region.content()
    assert run(["inspect", str(service.path), "--observe", "0"]) == 0
    assert run(["inspect", str(service.path), "--observe", "0.01", "--json"]) == 0
    assert region.content() == before


@pytest.mark.parametrize("seed", range(12))
def test_garbage_is_shown_never_fatal(seed: int, service: ServiceFile, config: Config, region: CraftedRegion) -> None:
    """Random words over registers and rings: the inspector always has something to say and never fails."""
    noise = random.Random(seed)
    for link in region.links.values():
        for _ in range(noise.choice((3, 40, 400))):
            link.window.write(noise.randrange(link.map.reserved - 8), noise.randbytes(noise.choice((1, 2, 4, 8))))
        link.set_state(noise.randrange(2), noise.choice((0, 1, 2, 3, 1 << 31)))
    region.store(noise.randrange(8192 - 64), noise.randbytes(64))
    view = look(config)
    assert all(view.due)
    assert run(["inspect", str(service.path), "--observe", "0"]) == 0
    assert run(["inspect", str(service.path), "--observe", "0", "--json"]) == 0


def test_json_keys(service: ServiceFile, region: CraftedRegion, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read these: a key may be added, none may go."""
    transaction(region.links["root"])
    region.links["root"].own(0, 9 << OWNER_BITS | Owner.BACKEND)
    assert run(["inspect", str(service.path), "web", "--json", "--observe", "0"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.keys() >= {"version", "service", "guests"}
    (guest,) = document["guests"]
    assert guest.keys() >= {
        "guest", "region", "socket", "observed_seconds", "status_files", "directory", "links", "findings",
    }  # fmt: skip
    link = guest["links"][0]
    assert link.keys() >= {
        "name", "device", "device_id", "offset", "window", "backend_state", "frontend_state", "revision",
        "header_size", "header_problem", "transaction", "device_status", "config_event", "config_changing",
        "backend", "frontend", "features", "queues", "findings", "served_by", "trouble",
    }  # fmt: skip
    assert link["transaction"] == {"field": "queue_enable", "offset": 0x26, "size": 2, "sequence": 5}
    assert link["device_status"]["names"] == ["ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK"]
    assert link["backend"].keys() >= {"capabilities", "epoch", "session", "heartbeat", "acknowledged"}
    assert link["frontend"].keys() >= {"incarnation", "capabilities", "peer", "heartbeat"}
    assert link["queues"][0].keys() >= {
        "index", "name", "place", "indices", "outstanding", "owner", "owner_changes", "event", "problem", "counters",
    }  # fmt: skip
    assert (link["queues"][0]["owner"], link["queues"][0]["owner_changes"]) == (Owner.BACKEND, 9)


def test_text_says_the_same(service: ServiceFile, region: CraftedRegion, capsys: pytest.CaptureFixture[str]) -> None:
    region.links["root"].set_indices(0, 9, 2)
    region.links["rng"].set_state(FRONTEND, 0)
    region.links["root"].own(0, 7 << OWNER_BITS | Owner.BACKEND)
    assert run(["inspect", str(service.path), "--observe", "0"]) == 0
    output = capsys.readouterr().out
    assert "back-end: queue 0 (request): owes 7 answers" in output
    assert "front-end: absent: the back-end waits for a driver" in output
    assert "transmit" in output
    (row,) = [
        line for line in output.splitlines() if line.strip().startswith("0") and "request" in line and "256" in line
    ]
    assert "back-end" in row
    assert "epoch e70c" in output


@pytest.mark.parametrize(
    ("value", "name"),
    [(0, "absent"), (1, "ready"), (2, "resuming"), (3, "invalid (3)"), (1 << 31, "invalid (2147483648)")],
)
def test_state_names(value: int, name: str) -> None:
    assert state_name(value) == name


def test_other_words() -> None:
    assert status_names(0) == []
    assert status_names(64 | 32) == ["NEEDS_RESET", "0x20"]
    assert field_name(0x1C) == "queue_sel"
    assert field_name(0x1D) == "offset 0x1d"
    assert [queue_name(3, index, 6) for index in range(6)] == [
        "receive", "transmit", "control receive", "control transmit", "port 1 receive", "port 1 transmit",
    ]  # fmt: skip
    assert queue_name(99, 4, 5) == "request"
    assert [queue_name(1, index, 5) for index in range(5)] == [
        "receive", "transmit", "receive", "transmit", "control",
    ]  # fmt: skip
    assert [holds_empty_buffers(1, index, 5) for index in range(5)] == [True, False, True, False, False]
    assert [owner_name(owner) for owner in (None, 0, 1, 2, 3)] == ["-", "nobody", "back-end", "stand-in", "invalid (3)"]


def test_incarnation_of_a_front_end_line(config: Config, root: CraftedLink) -> None:
    root.frontend_word(FrontendLine.INCARNATION, 0xABCD)
    root.window.store32(root.map.frontend_line + FrontendLine.PEER_PLUS_ONE, 6)
    frontend = look(config).links[ROOT].frontend
    assert frontend is not None
    assert (frontend.incarnation, frontend.peer) == (0xABCD, 5)
