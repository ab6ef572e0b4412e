# SPDX-License-Identifier: MIT
"""``ivshmem-virtio evil-backend``: a hostile back-end, for who drives devices."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random

import click

from ivshmem_virtio.cli.parameters import CONFIG_FILE, json_option


@click.command("evil-backend")
@click.argument("config_file", metavar="CONFIG.toml", type=CONFIG_FILE, required=False)
@click.option(
    "--socket",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Be a client of the ivshmem server there, instead of being the guest's server.",
)
@click.option("--guest", metavar="NAME", help="Which guest of the configuration; needed when it has several.")
@click.option("--scenario", "names", multiple=True, metavar="NAME", help="What to do; may be repeated. Without: all.")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Only N of them, chosen by the seed.")
@click.option("--seed", type=click.IntRange(0), help="The same seed makes the same choices; made up when not given.")
@click.option(
    "--seconds", type=click.FloatRange(0.01, 3600), default=2.0, show_default=True, help="How long each is played."
)
@click.option(
    "--patience",
    type=click.FloatRange(0, 3600),
    default=15.0,
    show_default=True,
    help="Seconds to wait for drivers before scenarios that need running devices.",
)
@click.option("--next-flags", is_flag=True, help="Also what split rings in shared memory do not withstand.")
@click.option(
    "--pidfile",
    "pid_file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the process id to FILE once the guest may start; it is removed at the end.",
)
@click.option("--list", "only_list", is_flag=True, help="Show the scenarios and end.")
@json_option
def evil_backend(
    config_file: Path | None,
    socket: Path | None,
    guest: str | None,
    names: Sequence[str],
    sample: int | None,
    seed: int | None,
    seconds: float,
    patience: float,
    next_flags: bool,
    pid_file: Path | None,
    only_list: bool,
    as_json: bool,
) -> None:
    """Be a hostile back-end: break the rules towards a guest's drivers.

    Lays out the links of CONFIG.toml and behaves until drivers have come up on them; then plays one scenario after the
    other, each on devices that begin anew. Afterwards it is gone, as a killed back-end would be. What it does it does
    again with the same seed, as far as the guest does.
    """
    from ivshmem_virtio.evil.backend.catalogue import chosen
    from ivshmem_virtio.evil.backend.interruption import Interruption
    from ivshmem_virtio.evil.backend.perform import Performance, play_all
    from ivshmem_virtio.service.config import load_config, select_guest
    from ivshmem_virtio.service.notify import Readiness

    if only_list:
        _list(as_json)
        return
    if config_file is None:
        raise click.UsageError("CONFIG.toml says which devices to be")
    seed = secrets.randbits(32) if seed is None else seed
    scenarios = chosen(names, next_flags=next_flags)
    if sample is not None:
        scenarios = Random(seed).sample(scenarios, min(sample, len(scenarios)))
    config = load_config(config_file, images=False)

    def show(performance: Performance) -> None:
        click.echo(json.dumps(asdict(performance)) if as_json else _line(performance))

    play_all(
        config,
        select_guest(config, guest),
        scenarios,
        socket=socket,
        seed=seed,
        seconds=seconds,
        patience=patience,
        readiness=Readiness(pid_file),
        interruption=Interruption(),
        show=show,
    )


def _list(as_json: bool) -> None:
    from ivshmem_virtio.evil.backend.catalogue import SCENARIOS

    if as_json:
        found = [
            {"name": s.name, "text": s.about, "packed": s.packed, "writes_next": s.writes_next}
            for s in SCENARIOS.values()
        ]
        click.echo(json.dumps(found))
        return
    for scenario in SCENARIOS.values():
        note = " [NEXT flags]" if scenario.writes_next else ""
        click.echo(f"{scenario.name:32} {scenario.about}{note}")


def _line(performance: object) -> str:
    from ivshmem_virtio.evil.backend.perform import Performance

    assert isinstance(performance, Performance)
    return (
        f"{performance.scenario:32} seed {performance.seed}: {performance.done} acts in {performance.seconds:g} s, "
        f"after {performance.waited:.1f} s with drivers of {', '.join(performance.running) or 'nothing'}; "
        f"{performance.transactions} transactions, {performance.answered} requests"
    )
