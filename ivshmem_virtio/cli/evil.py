# SPDX-License-Identifier: MIT
"""``ivshmem-virtio evil-driver``: a hostile guest, for who serves devices."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path

import click

from ivshmem_virtio.cli.parameters import json_option
from ivshmem_virtio.evil.driver.catalogue import SCENARIOS, choose
from ivshmem_virtio.evil.driver.join import evil_driver_on
from ivshmem_virtio.evil.driver.outcome import Report
from ivshmem_virtio.evil.driver.run import run


@click.command("evil-driver")
@click.option("--socket", type=click.Path(path_type=Path, dir_okay=False), metavar="PATH", help="The server's socket.")
@click.option("--link", metavar="NAME|NUMBER", help="Which link; needed when there are several.")
@click.option("--scenario", "names", multiple=True, metavar="NAME", help="What to do; may be repeated. Without: all.")
@click.option("--seed", type=click.IntRange(0), help="The same seed makes the same attempts; made up when not given.")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="Attempts of each scenario.")
@click.option("--seconds", type=click.FloatRange(0.01, 60), default=1.0, show_default=True, help="Bound of each wait.")
@click.option("--packed", is_flag=True, help="With packed rings, where the device offers them.")
@click.option("--list", "only_list", is_flag=True, help="Show the scenarios and end.")
@json_option
def evil_driver(
    socket: Path | None,
    link: str | None,
    names: Sequence[str],
    seed: int | None,
    count: int,
    seconds: float,
    packed: bool,
    only_list: bool,
    as_json: bool,
) -> None:
    """Be a hostile guest: break the rules of a device.

    Joins the server as the guest of that socket, which must not be running, and ends with status 1 when the device no
    longer serves a driver that behaves. Whatever it does, it does again with the same seed.
    """
    if only_list:
        _list(as_json)
        return
    if socket is None:
        raise click.UsageError("--socket PATH says which guest to be")
    scenarios = choose(names)
    seed = secrets.randbits(32) if seed is None else seed
    with evil_driver_on(socket, link, seconds=seconds, packed=packed) as target:
        for scenario in scenarios:
            if target.packed and scenario.split_only:
                continue
            _show(run(target, scenario, seed=seed, count=count), as_json)


def _list(as_json: bool) -> None:
    found = [{"name": s.name, "text": s.text, "rule": s.rule} for s in SCENARIOS.values()]
    if as_json:
        click.echo(json.dumps(found))
        return
    for scenario in found:
        rule = f" [{scenario['rule']}]" if scenario["rule"] else ""
        click.echo(f"{scenario['name']:24} {scenario['text']}{rule}")


def _show(report: Report, as_json: bool) -> None:
    """One line for each scenario, JSON or words."""
    if as_json:
        click.echo(json.dumps(report.as_json()))
        return
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(report.outcomes.items()))
    rules = ", ".join(f"{count} {rule}" for rule, count in sorted(report.rules.items()))
    click.echo(f"{report.scenario:24} seed {report.seed}: {outcomes}{f' ({rules})' if rules else ''}")
