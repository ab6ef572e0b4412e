# SPDX-License-Identifier: MIT
"""The wall plan of docs/architecture.md: each room imports only from itself and from those above it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ivshmem_virtio"
# The faces stand side by side; benchmarks and the command line stand on all of them.
LAYERS = [["errors"], ["core"], ["memory"], ["link"], ["peer"], ["transport"], ["vhost_user"], ["devices"], ["service"]]
LAYERS += [["vm", "inspect", "evil"], ["bench"], ["cli"]]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imports(path: Path) -> Iterator[str]:
    """The rooms of this package that a file imports from, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            parts = name.split(".")
            if parts[0] == "ivshmem_virtio" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize("room", [name for names in LAYERS for name in names if (PACKAGE / name).is_dir()])
def test_imports_point_upwards_only(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        for other in imports(path):
            assert other == room or RANK[other] < RANK[room], f"{path.relative_to(ROOT)} imports from {other}"


def test_every_room_has_its_layer_and_its_line_in_the_document() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= set(RANK)
    document = (ROOT / "docs" / "architecture.md").read_text()
    order = re.findall(r"^\| `(\w+)", document[document.index("## Rooms") :], re.MULTILINE)
    listed = [RANK[name] for name in order if name in RANK]
    assert listed == sorted(listed), f"the table of rooms is not in the order of the layers: {order}"
