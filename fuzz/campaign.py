# SPDX-License-Identifier: MIT
"""Every target for its share of a time: ``python -m fuzz.campaign SECONDS``. A finding ends it."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz.corpus import unpack
from fuzz.process import BUILD, ROOT, command, environment
from fuzz.targets import TARGETS

DONE = re.compile(r"#(\d+)\s+DONE\s+cov: (\d+) .*corp: (\d+)/")
FINDING = re.compile(r"Test unit written to (\S+)")
LAST_LINES = 40


class Finding(Exception):
    """A target did what it must never do."""


def fuzz(target: str, seconds: int, found: Path) -> str:
    """The corpus and what is in ``found``, then new inputs for so many seconds, the interesting ones kept in ``found``.

    Returns a summary in one line; raises Finding.
    """
    seeds = BUILD / "corpus" / target
    unpack(target, seeds)
    found.mkdir(parents=True, exist_ok=True)
    log = BUILD / f"{target}.log"
    # libFuzzer ends without a word to Python, so what a target has made in its temporary folder is removed here.
    with log.open("w") as out, TemporaryDirectory() as scratch:
        ended = subprocess.run(
            command(target, f"-max_total_time={seconds}", str(found), str(seeds)),
            stdout=out, stderr=subprocess.STDOUT, env={**environment(target), "TMPDIR": scratch}, cwd=ROOT, check=False,
        )  # fmt: skip
    text = log.read_text(errors="replace")
    done = DONE.search(text)
    if ended.returncode or done is None:
        raise Finding(explain(target, log, text))
    return f"{target}: {done[1]} inputs in {seconds} s, {done[3]} kept, {done[2]} branches and lines of code"


def explain(target: str, log: Path, text: str) -> str:
    """The end of the log, and what to type to see it again."""
    unit = FINDING.search(text)
    again = f"python -m fuzz.process {target} {unit[1]}" if unit else f"see {log}"
    return "\n".join([*text.splitlines()[-LAST_LINES:], f"FINDING in {target}. Again: {again}"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz.campaign", description=__doc__)
    parser.add_argument("seconds", type=int, help="for all targets together")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    arguments = parser.parse_args()
    shares = {target: TARGETS[target] for target in arguments.targets or TARGETS}
    for target, share in shares.items():
        try:
            seconds = max(1, arguments.seconds * share // sum(shares.values()))
            print(fuzz(target, seconds, BUILD / "found" / target), flush=True)
        except Finding as finding:
            print(finding)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
