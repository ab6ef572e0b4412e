# SPDX-License-Identifier: MIT
"""Arguments and options that several subcommands share, so that they mean and read the same everywhere."""

from __future__ import annotations

from pathlib import Path

import click

CONFIG_FILE = click.Path(path_type=Path, readable=False)
"""Whether the file can be read is the configuration's own message."""

config_argument = click.argument("config_file", metavar="CONFIG.toml", type=CONFIG_FILE)
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Log every state change, not only what matters.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs instead of text.")
