# SPDX-License-Identifier: MIT
"""Nothing lies outside the window: every ring, descriptor and indirect table of a traced boot, and every mapping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ivshmem_virtio.service.config import load_config
from ivshmem_virtio.service.plan import plan
from ivshmem_virtio.vm.service import ServiceProcess
from tests.service.running_service import region_mappings
from tests.vm.conftest import BootGuest
from tests.vm.served_guest import Site, assert_works


def spans(record: dict[str, Any]) -> list[tuple[int, int]]:
    """Every (offset, length) a trace record names."""
    if record["event"] == "enable":
        size = record["size"]
        return [(record["desc"], 16 * size), (record["driver"], 6 + 2 * size), (record["device"], 6 + 8 * size)]
    table = [tuple(record["table"])] if record["table"] else []
    return [*table, *(tuple(segment) for segment in record["readable"] + record["writable"])]


@pytest.mark.newest_kernel
def test_a_traced_boot_stays_inside(tmp_path: Path, boot: BootGuest) -> None:
    site = Site(tmp_path)
    site.write("web", "other")
    trace = tmp_path / "trace.jsonl"
    config = load_config(site.config, images=False)
    links = {link.layout.name: link.layout for link in plan(config, config.guests[0]).links}
    with ServiceProcess(["serve", str(site.config), "--trace", str(trace)], tmp_path) as service:
        guest = boot(doorbells=site.doorbells("web"))
        assert_works(guest, site, "web")
        guest.run("ip link set eth0 up; ip addr add 10.1.0.1/24 dev eth0; ping -c 2 -w 3 10.1.0.2 || true")
        children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
        regions = [config.shared_memory(guest) for guest in config.guests]
        for pid in map(int, children):
            for region, owner in zip(regions, config.guests, strict=True):
                allowed = [(link.layout.offset, link.layout.end) for link in plan(config, owner).links]
                for offset, length in region_mappings(pid, region):
                    assert any(start <= offset and offset + length <= end for start, end in allowed)
        others = [pid for pid in children if region_mappings(int(pid), regions[1])]
        assert len(others) == 2, "the other guest's region is mapped by its back-end and the switch only"
        guest.stop()
    records = [json.loads(line) for line in trace.read_text().splitlines()]
    seen = {record["link"] for record in records if record["event"] == "chain"}
    assert seen == set(links), "every device was used"
    for record in records:
        length = links[record["link"]].rw_size
        assert record["window"] == length
        for offset, size in spans(record):
            assert offset > 0, record
            assert offset + size <= length, record
    assert any(record.get("table") for record in records), "indirect tables were used, and lie inside"
