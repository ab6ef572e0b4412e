# SPDX-License-Identifier: MIT
"""Configurations of real services, each with names of its own."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

ConfigWriter = Callable[..., Path]

GUEST = """
[[guest]]
name = "{name}"
region = "16M"
vectors = {vectors}
  [[guest.device]]
  type = "blk"
  name = "disk"
  path = "{name}.img"
  window = "2M"
  [[guest.device]]
  type = "rng"
"""
PORT = """
  [[guest.device]]
  type = "net"
  name = "lan"
  window = "4M"
  via = { switch = "lan" }
"""


@pytest.fixture
def write_config(tmp_path: Path) -> ConfigWriter:
    """Writes ``service.toml`` with these guests: each a disk of 1 MiB, entropy and, on demand, a switch port."""
    name = f"test-{secrets.token_hex(4)}"

    def write(*guests: str, switch: bool = False, vectors: int = 16) -> Path:
        for guest in guests:
            image = tmp_path / f"{guest}.img"
            if not image.exists():
                image.write_bytes(os.urandom(1 << 20))
        tables = [GUEST.format(name=guest, vectors=vectors) + (PORT if switch else "") for guest in guests]
        config = tmp_path / "service.toml"
        config.write_text(f'[service]\nname = "{name}"\nruntime_dir = "run"\n' + "".join(tables))
        return config

    return write
