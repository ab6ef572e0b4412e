# SPDX-License-Identifier: MIT
"""The commands that start virtual machines: ``run``, ``shell``, ``qemu-args`` and ``demo``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from ivshmem_virtio.cli.parameters import CONFIG_FILE, config_argument, json_option, verbose_option

# Written out, so that --help need not load what starts machines; a test compares them.
KERNELS = ("6.1", "6.12")
ACCELERATORS = ("auto", "kvm", "tcg")

guest_option = click.option(
    "--guest", metavar="NAME", help="Which guest of the configuration; needed when it has several."
)
kernel_option = click.option(
    "--kernel",
    "series",
    type=click.Choice([*KERNELS, "none"]),
    default=KERNELS[0],
    show_default=True,
    help="Stock Debian kernel to boot; with none, the arguments for QEMU say what to boot.",
)
accel_option = click.option(
    "--accel",
    type=click.Choice(ACCELERATORS),
    default="auto",
    show_default=True,
    help="auto takes KVM if a small guest really runs under it, else TCG.",
)
append_option = click.option("--append", default="", metavar="TEXT", help="More for the kernel's command line.")
package_option = click.option(
    "--package",
    "packages",
    multiple=True,
    metavar="NAME",
    help="Put a Debian package, and all it depends on, into the guest; may be given several times.",
)
serve_option = click.option(
    "--serve/--no-serve", "with_service", default=True, help="Start the service too, or use the one that runs already."
)


def _say(text: str) -> None:
    click.echo(f"ivshmem-virtio: {text}", err=True)


@click.command()
@config_argument
@kernel_option
@accel_option
@append_option
@package_option
@serve_option
@verbose_option
@click.argument("qemu", nargs=-1, type=click.UNPROCESSED, metavar="[-- QEMU ARGUMENTS]")
def run(
    config_file: Path,
    series: str,
    accel: str,
    append: str,
    packages: tuple[str, ...],
    with_service: bool,
    verbose: bool,
    qemu: tuple[str, ...],
) -> None:
    """Serve a configuration and start its guests in QEMU.

    Each guest is a virtual machine whose only device is an ivshmem-doorbell. Its console, a root shell, is on this
    terminal if there is one guest, else on sockets whose names are printed. Ends when all have ended. What follows
    -- is added to every guest's QEMU command line.
    """
    _run(config_file, None, series, accel, append, packages, with_service, verbose, qemu)


@click.command()
@click.argument("config_file", metavar="[CONFIG.toml]", type=CONFIG_FILE, required=False)
@guest_option
@kernel_option
@accel_option
@append_option
@package_option
@serve_option
@verbose_option
@click.argument("qemu", nargs=-1, type=click.UNPROCESSED, metavar="[-- QEMU ARGUMENTS]")
def shell(
    config_file: Path | None,
    guest: str | None,
    series: str,
    accel: str,
    append: str,
    packages: tuple[str, ...],
    with_service: bool,
    verbose: bool,
    qemu: tuple[str, ...],
) -> None:
    """Boot one guest, with a root shell in it on this terminal.

    Without a configuration it is the guest of the demonstration, and the shell is on its virtio console; only --kernel
    and --accel apply then. With one, the shell is on the serial port, so that it works whatever the devices do.
    'poweroff -f' in the guest ends it.
    """
    if config_file is None:
        from ivshmem_virtio.vm.parting import interrupted_by_signals
        from ivshmem_virtio.vm.trial_shell import run_trial_shell

        if series == "none":
            raise click.UsageError("without a configuration there is nothing to boot but a stock kernel")
        with interrupted_by_signals():
            run_trial_shell(series=series, accelerator=accel, say=_say)
        return
    from ivshmem_virtio.service.config import load_config, select_guest

    name = select_guest(load_config(config_file), guest).name
    _run(config_file, name, series, accel, append, packages, with_service, verbose, qemu)


def _run(
    config_file: Path,
    only: str | None,
    series: str,
    accel: str,
    append: str,
    packages: tuple[str, ...],
    with_service: bool,
    verbose: bool,
    qemu: tuple[str, ...],
) -> None:
    from contextlib import ExitStack

    from ivshmem_virtio.service.config import load_config
    from ivshmem_virtio.vm.launch import run_guests
    from ivshmem_virtio.vm.parting import interrupted_by_signals
    from ivshmem_virtio.vm.service import ServiceProcess

    config = load_config(config_file, images=with_service)
    guests = [guest for guest in config.guests if only in (None, guest.name)]
    with interrupted_by_signals(), ExitStack() as cleanup:
        healthy = _nothing_to_check
        if with_service:
            folder = config.service.runtime_dir
            folder.mkdir(parents=True, exist_ok=True)
            wordy = ["--verbose"] if verbose else []
            service = cleanup.enter_context(ServiceProcess(["serve", str(config_file), *wordy], folder))
            healthy = service.check_alive
            _say(f"service {config.service.name} runs; its log: {service.log}")
        run_guests(
            config,
            guests,
            series=series,
            accelerator=accel,
            append=append,
            packages=packages,
            extra=qemu,
            say=_say,
            healthy=healthy,
        )


def _nothing_to_check() -> None:
    """The service is somebody else's."""


@click.command()
@config_argument
@guest_option
@json_option
def qemu_args(config_file: Path, guest: str | None, as_json: bool) -> None:
    """Print the QEMU arguments that attach a guest.

    For any QEMU command line: the ivshmem-doorbell device on the guest's socket, with its memory above 4 GiB.
    """
    from ivshmem_virtio.service.config import load_config, select_guest
    from ivshmem_virtio.vm.launch import doorbell
    from ivshmem_virtio.vm.qemu import doorbell_arguments

    chosen = select_guest(load_config(config_file, images=False), guest)
    arguments = doorbell_arguments([doorbell(chosen)])
    click.echo(json.dumps(arguments) if as_json else shlex.join(arguments))


@click.command()
@click.option(
    "--kernel",
    "series",
    type=click.Choice(KERNELS),
    default=KERNELS[0],
    show_default=True,
    help="Stock Debian kernel to boot.",
)
@accel_option
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the results to FILE.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Work in DIR and leave logs and images there.",
)
def demo(series: str, accel: str, json_file: Path | None, keep: Path | None) -> int:
    """Boot a guest with every kind of device and show it work.

    Unpatched QEMU, a stock kernel, and no device but one ivshmem-doorbell: a disk, a console, a network and an entropy
    source live in its shared memory. Prints what was expected and what was seen; fails if anything differs.
    """
    from ivshmem_virtio.cli.output import wide_console
    from ivshmem_virtio.vm.demo import run_demo
    from ivshmem_virtio.vm.parting import interrupted_by_signals

    with interrupted_by_signals():
        passed = run_demo(wide_console(), series=series, accelerator=accel, json_file=json_file, keep=keep)
    return 0 if passed else 1
