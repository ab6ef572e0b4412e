# SPDX-License-Identifier: MIT
"""The command ``ivshmem-virtio``: runs a subcommand and turns whatever goes wrong into one line and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from ivshmem_virtio.cli.commands import CommandGroup
from ivshmem_virtio.errors import IvshmemVirtioError

PROGRAM = "ivshmem-virtio"
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="ivshmem-virtio", message="%(prog)s %(version)s", help="Show the version and exit.")
def group() -> None:
    """Virtio devices inside one static window of shared memory, over QEMU's ivshmem-doorbell.

    A service reads one TOML file. Try: demo, then serve and run with a file of your own, and inspect when something
    does not move.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script; ends the process."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (without the program's name); returns the exit status."""
    try:
        result = group.main(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return EXIT_USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else PROGRAM
        return _complain(f"{command}: {error.format_message()} (see {command} --help)", EXIT_USAGE)
    except click.ClickException as error:
        return _complain(f"{PROGRAM}: {error.format_message()}", EXIT_FAILED)
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except IvshmemVirtioError as error:
        return _complain(f"{PROGRAM}: {error}", EXIT_FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{PROGRAM}: {where}{error.strerror or error}", EXIT_FAILED)
    return result if isinstance(result, int) else 0


def _complain(message: str, status: int) -> int:
    """Print a message as one line, whatever the words of others in it contain."""
    print(" ".join(message.split()), file=sys.stderr)
    return status
