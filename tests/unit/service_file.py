# SPDX-License-Identifier: MIT
"""A service configuration in a folder of its own, for tests to change in one place."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from ivshmem_virtio.service.config import Config, load_config

TEMPLATE = """\
[service]
name = "{name}"
runtime_dir = "run"

[[guest]]
name = "web"
region = "64M"
vectors = 32

  [[guest.device]]
  type = "blk"
  name = "root"
  path = "root.img"
  queues = 2
  window = "16M"

  [[guest.device]]
  type = "net"
  name = "uplink"
  via = {{ stream = "passt.sock" }}

  [[guest.device]]
  type = "console"
  name = "serial"
  via = "pty"

  [[guest.device]]
  type = "rng"
"""


class ServiceFile:
    """``service.toml`` and ``root.img`` in ``folder``; the service has a name nobody else uses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "service.toml"
        self.image = folder / "root.img"
        self.name = f"t{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.text = TEMPLATE.format(name=self.name)
        self.image.write_bytes(bytes(1 << 20))
        self.path.write_text(self.text)

    def replace(self, old: str, new: str) -> None:
        """Change one place of the file."""
        assert self.text.count(old) == 1, f"{old!r} stands {self.text.count(old)} times in the template"
        self.text = self.text.replace(old, new)
        self.path.write_text(self.text)

    def append(self, text: str) -> None:
        self.text += text
        self.path.write_text(self.text)

    def load(self) -> Config:
        return load_config(self.path)
