# SPDX-License-Identifier: MIT
"""One target: ``python -m fuzz TARGET [options of libFuzzer] [inputs]``, or ``--replay`` without a fuzzer.

Wants the sanitizers' run-time library to be loaded already where the compiled core has sanitizers (fuzz/process.py).
"""

from __future__ import annotations

import argparse
import shlex
import sys
from importlib import import_module
from pathlib import Path

from fuzz import sanitized_core
from fuzz.corpus import inputs_of
from fuzz.targets import TARGETS


def fuzz(target: str, options: list[str]) -> None:
    """Hand the target to libFuzzer, which ends the process."""
    import atheris

    # libFuzzer starts itself again for a merge, and puts what it takes for its own name in front, unquoted.
    own_name = shlex.join([sys.executable, "-m", "fuzz", *sys.argv[1 : len(sys.argv) - len(options)]])

    with atheris.instrument_imports(include=["ivshmem_virtio"]):
        module = import_module(f"fuzz.{target}")
    atheris.Setup([own_name, *options], module.run)
    atheris.Fuzz()


def replay(target: str, paths: list[Path]) -> None:
    """Each input once: those of the corpus, or the given ones."""
    module = import_module(f"fuzz.{target}")
    count = 0
    for data in [path.read_bytes() for path in paths] or inputs_of(target):
        module.run(data)
        count += 1
    print(f"{target}: {count} inputs replayed")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--core", type=Path, help="a build of the core with sanitizers, instead of the package's own")
    parser.add_argument("--replay", action="store_true", help="run inputs (default: the corpus) without a fuzzer")
    arguments, rest = parser.parse_known_args()
    if arguments.core is not None:
        sanitized_core.load(arguments.core)
    if arguments.replay:
        replay(arguments.target, [Path(name) for name in rest])
    else:
        fuzz(arguments.target, rest)


if __name__ == "__main__":
    main()
