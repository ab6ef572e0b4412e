# SPDX-License-Identifier: MIT
"""A target in a process of its own, with sanitizers: ``python -m fuzz.process TARGET [options of libFuzzer] [inputs]``.

Given the file of a finding it does once more what that says.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "fuzz"
CORE = BUILD / "core.so"

SANITIZERS = "detect_leaks=0:malloc_context_size=2:quarantine_size_mb=16:allocator_may_return_null=1"
SECONDS_PER_INPUT = 120
"""A loop that does not end is a finding; so many because the machine may be busy with other things."""
LIMITS = (f"-timeout={SECONDS_PER_INPUT}", "-rss_limit_mb=2048", "-max_len=512", "-len_control=0")


class NotBuilt(Exception):
    """Something that ``make fuzz`` sets up is not there."""


def runtime() -> Path:
    """The fuzzer and the sanitizers in one library, which comes with atheris; raises NotBuilt."""
    spec = find_spec("atheris")
    if spec is None or spec.origin is None or not CORE.exists():
        raise NotBuilt("the fuzzer is not set up: make fuzz-ready")
    return Path(spec.origin).parents[1] / "asan_with_fuzzer.so"


def environment(target: str) -> dict[str, str]:
    """What a target's process has to be started with."""
    # Line coverage would follow the process into each input.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    made = {**inherited, "LD_PRELOAD": str(runtime()), "ASAN_OPTIONS": SANITIZERS, "PYTHONPATH": str(ROOT)}
    if target in ("rings", "packed_rings"):
        # Bytes objects that the core fills come from where overflows are noticed, too.
        made["PYTHONMALLOC"] = "malloc"
    return made


def command(target: str, *options: str) -> list[str]:
    """A target's command line."""
    findings = BUILD / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    prefix = f"-artifact_prefix={findings}/{target}-"
    return [sys.executable, "-m", "fuzz", target, "--core", str(CORE), prefix, *LIMITS, *options]


if __name__ == "__main__":
    os.execvpe(sys.executable, command(*sys.argv[1:]), environment(sys.argv[1]))
