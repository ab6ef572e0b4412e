# SPDX-License-Identifier: MIT
"""``python -m model``: every model in every size, then every mutant; ends with 1 if one is not as it must be.

``python -m model --trail MODEL MACRO ...`` prints the steps that lead to an error instead.
"""

from __future__ import annotations

import sys

from ivshmem_virtio.errors import IvshmemVirtioError
from model.checker import check
from model.instances import LONG, MUTANTS, SHORT, Instance


def check_all() -> int:
    """Number of instances that are not as they must be."""
    wrong = 0
    for must_fail, instances in ((False, SHORT + LONG), (True, MUTANTS)):
        print("mutants, which must fail" if must_fail else "models, which must hold")
        for instance in instances:
            outcome = check(instance)
            right = bool(outcome.error) is must_fail
            wrong += not right
            verdict = f"fails: {outcome.error}" if outcome.error else "holds"
            print(f"  {'ok ' if right else 'BAD'} {instance!s:<68} {outcome}  {verdict}", flush=True)
    return wrong


def main(arguments: list[str]) -> int:
    try:
        if arguments[:1] == ["--trail"] and len(arguments) > 1:
            outcome = check(Instance(arguments[1], tuple(arguments[2:])))
            print(outcome.trail or f"{outcome.instance} holds")
            return 0
        return 1 if check_all() else 0
    except IvshmemVirtioError as error:
        print(f"ivshmem-virtio: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
