# SPDX-License-Identifier: MIT
"""Which subcommands there are, imported only when one is used: ``--help`` stays quick."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS: dict[str, tuple[str, str, str]] = {
    "server": ("ivshmem_virtio.cli.server", "server", "Hand out one region of memory and doorbells, nothing else."),
    "serve": ("ivshmem_virtio.cli.serve", "serve", "Serve the devices of a configuration to its guests."),
    "attach": ("ivshmem_virtio.cli.attach", "attach", "Serve a guest's devices behind somebody else's ivshmem server."),
    "run": ("ivshmem_virtio.cli.vm", "run", "Serve a configuration and start its guests in QEMU."),
    "qemu-args": ("ivshmem_virtio.cli.vm", "qemu_args", "Print the QEMU arguments that attach a guest."),
    "shell": ("ivshmem_virtio.cli.vm", "shell", "Boot a guest with the devices of a configuration; a shell in it."),
    "demo": ("ivshmem_virtio.cli.vm", "demo", "Boot a guest with every kind of device and show it work."),
    "inspect": ("ivshmem_virtio.cli.inspect", "inspect", "Show what state a guest's devices are in, and who waits."),
    "frontend": ("ivshmem_virtio.cli.frontend", "frontend", "Drive a device from user space, without a guest."),
    "bench": ("ivshmem_virtio.cli.bench", "bench", "Measure this machine: each figure beside that of a peer."),
    "evil-driver": ("ivshmem_virtio.cli.evil", "evil_driver", "Be a hostile guest: break the rules of a device."),
    "evil-backend": (
        "ivshmem_virtio.cli.evil_backend",
        "evil_backend",
        "Be a hostile back-end: break the rules of a driver.",
    ),
}
"""By name: module, attribute, and the line shown in the list."""


class CommandGroup(click.Group):
    """A group whose commands stand in COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])
