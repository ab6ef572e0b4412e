# SPDX-License-Identifier: MIT
"""Service configurations: a good one with some of its keys changed, or any text.

Either it can be used, or there is one line that says why not.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from fuzz.script import Script
from ivshmem_virtio.service.config import Config, parse_config, select_guest
from ivshmem_virtio.service.config_errors import ConfigError
from ivshmem_virtio.service.config_images import check_images
from ivshmem_virtio.service.plan import plans

SCRATCH = tempfile.TemporaryDirectory(prefix="ivshmem-virtio-fuzz-")
FOLDER = Path(SCRATCH.name)
(FOLDER / "root.img").write_bytes(bytes(1024))
(FOLDER / "odd.img").write_bytes(bytes(1000))

Table = dict[str, Any]


def good() -> Table:
    """Something of everything."""
    return {
        "service": {"name": "fuzzed", "runtime_dir": "run", "mode": 0o660},
        "guest": [
            {
                "name": "web",
                "region": "64M",
                "vectors": 8,
                "socket": "web.sock",
                "vm": {"memory": "512M", "cpus": 2, "kernel": "vmlinuz"},
                "device": [
                    {"type": "blk", "name": "root", "path": "root.img", "queues": 2, "window": "1M", "timeout": "5s"},
                    {"type": "net", "name": "lan0", "via": {"switch": "lan"}, "mac": "52:54:00:00:00:01", "mtu": 1500},
                    {"type": "net", "name": "up", "via": {"stream": "passt.sock", "listen": True}, "queue_size": 64},
                    {"type": "console", "via": "pty", "ports": [{"name": "agent", "via": {"socket": "agent.sock"}}]},
                    {"type": "rng", "bytes_per_second": 1000},
                ],
            },
            {"name": "db", "device": [{"type": "net", "via": {"switch": "lan"}}]},
        ],
    }


KEYS = (
    "name", "runtime_dir", "mode", "owner", "region", "vectors", "socket", "vm", "memory", "cpus", "kernel",
    "device", "type", "path", "queues", "window", "timeout", "read_only", "serial", "via", "switch", "stream",
    "listen", "tap", "mac", "mtu", "queue_size", "ports", "file", "pty", "columns", "rows", "source",
    "bytes_per_second", "requests_per_second", "delay_ms", "guest", "service", "unknown",
)  # fmt: skip
WORDS = (
    "", "blk", "net", "console", "rng", "pty", "stdio", "null", "lan", "root.img", "odd.img", ".", "/dev/null",
    "/proc/self/mem", "web", "64M", "1K", "16E", "0x10", "-1M", "1.5M", "64 M", "10s", "1m", "forever", "0s",
    "root", ":root", "nobody:nogroup", "52:54:00:00:00:01", "01:00:00:00:00:00", "00:00:00:00:00:00", "x" * 300,
    "a\0b", "a\nb", "\u2028", "[red]", "{0}", "%s", "nowhere:Device", "json:JSONDecoder",
    "ivshmem_virtio.devices.rng:Rng", "fuzz.header:Echo", "..:x", "5:5",
)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 3, 63, 64, 65, 68, 4096, 32768, 65535, 65536, 1 << 20, 1 << 31, 1 << 40, 1 << 63, 10**30)


def value(script: Script) -> Any:
    """Of any type."""
    kind = script.below(8)
    if kind < 2:
        return script.choose(WORDS)
    if kind == 2:
        return script.choose(NUMBERS)
    if kind == 3:
        return script.number(2)
    if kind == 4:
        return script.bytes(script.below(16)).decode("utf-8", "replace")
    if kind == 5:
        return bool(script.byte() & 1)
    if kind == 6:
        return [value(script) for _ in range(script.below(3))]
    return {script.choose(KEYS): value(script) for _ in range(script.below(3))}


def tables(data: Any) -> list[Table]:
    """Every table, however deep."""
    inside = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return ([data] if isinstance(data, dict) else []) + [table for part in inside for table in tables(part)]


def change(data: Table, script: Script) -> None:
    """One key somewhere: set, taken away or written twice in a list."""
    table = script.choose(tables(data))
    what = script.below(4)
    key = script.choose(list(table) or KEYS) if what else script.choose(KEYS)
    found = table.get(key)
    if what == 3:
        table.pop(key, None)
    elif what == 2 and isinstance(found, list) and found:
        found.append(script.choose(found))
    else:
        table[key] = value(script)


def written(part: Any) -> str:
    """As TOML, tables inline."""
    if isinstance(part, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {written(inner)}" for key, inner in part.items()) + "}"
    if isinstance(part, list):
        return "[" + ", ".join(written(inner) for inner in part) + "]"
    return json.dumps(part, ensure_ascii=isinstance(part, str) and part.isascii())


def text_of(data: bytes) -> str:
    """A changed configuration; or what the input says, behind a zero byte."""
    if data.startswith(b"\0"):
        return data[1:].decode("utf-8", "replace")
    script = Script(data)
    made = good()
    while script.more:
        change(made, script)
    return "".join(f"{json.dumps(key)} = {written(part)}\n" for key, part in made.items())


def use(config: Config) -> None:
    """What a service does with a good configuration before it starts anything."""
    for made in plans(config):
        ends = [made.size, *(layout.offset for layout in made.layouts)]
        assert all(layout.end <= made.size for layout in made.layouts)
        assert len(set(ends)) == len(ends)
        assert all(layout.frontend_vector + layout.frontend_vectors <= made.vectors for layout in made.layouts)
    for guest in config.guests:
        select_guest(config, guest.name)
        for device in guest.devices:
            json.dumps(device.keys)
    check_images(config)


def run(data: bytes) -> None:
    """One configuration."""
    message = ""
    try:
        use(parse_config(text_of(data), FOLDER))
    except ConfigError as error:
        message = str(error)
    assert "\n" not in message, f"the message has more than one line: {message}"
