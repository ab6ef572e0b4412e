# SPDX-License-Identifier: MIT
"""The corpus: for each target a text file in ``fuzz/corpus``, one input a line in base64.

What is in ``TARGET.stays.txt`` stays whatever it reaches: past findings, and inputs that matter for what is checked.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterable
from hashlib import sha1
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
HEADING = "# SPDX-License-Identifier: MIT\n# One input of the fuzzer a line, base64 (docs/fuzzing.md).\n"


def file_of(target: str) -> Path:
    return FOLDER / f"{target}.txt"


def inputs_of(target: str) -> list[bytes]:
    """Every input, none where there is no file yet."""
    files = [path for path in (file_of(target), FOLDER / f"{target}.stays.txt") if path.exists()]
    lines = [line for path in files for line in path.read_text().splitlines()]
    return [base64.b64decode(line) for line in lines if line and not line.startswith("#")]


def unpack(target: str, folder: Path) -> None:
    """As libFuzzer wants them: a file each, and nothing else in ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for data in inputs_of(target):
        (folder / sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)


def pack(target: str, inputs: Iterable[bytes]) -> None:
    """Write the file of a target anew."""
    FOLDER.mkdir(exist_ok=True)
    lines = sorted({base64.b64encode(data).decode() for data in inputs if data}, key=lambda line: (len(line), line))
    file_of(target).write_text(HEADING + "".join(f"{line}\n" for line in lines))
