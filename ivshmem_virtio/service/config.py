# SPDX-License-Identifier: MIT
"""Reads a service configuration and checks all of it before anything starts."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ivshmem_virtio.service.config_checks import check_names, check_owner, check_sockets
from ivshmem_virtio.service.config_errors import (
    ConfigError,
    ConfigSyntaxError,
    ConfigUnreadable,
    MissingKey,
    NoSuchGuest,
)
from ivshmem_virtio.service.config_images import check_images
from ivshmem_virtio.service.config_messages import one_line
from ivshmem_virtio.service.config_models import Config, GuestConfig, ServiceConfig
from ivshmem_virtio.service.plan import plans

__all__ = ["Config", "GuestConfig", "load_config", "parse_config", "select_guest", "validate"]


def load_config(path: Path, *, images: bool = True) -> Config:
    """The configuration in a TOML file; relative paths in it start at the file's folder.

    ``images=False`` leaves out whether images can be used: for who only looks. Raises ConfigError, one line that begins
    with ``path``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigUnreadable(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigUnreadable(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    try:
        config = parse_config(text, path.absolute().parent)
        if images:
            check_images(config)
    except ConfigError as error:
        raise type(error)(f"{path}: {error}") from None
    return config


def parse_config(text: str, folder: Path) -> Config:
    """The configuration in ``text``, images not looked at; raises ConfigError without a file name."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigSyntaxError(f"not valid TOML: {error}") from None
    config = validate(data, folder)
    check_names(config)
    check_sockets(config)
    check_owner(config)
    plans(config)
    return config


def select_guest(config: Config, name: str | None) -> GuestConfig:
    """The guest of that name, or the only one; raises NoSuchGuest."""
    names = ", ".join(guest.name for guest in config.guests)
    if name is None:
        if len(config.guests) > 1:
            raise NoSuchGuest(f"the configuration has several guests; name one of: {names}")
        return config.guests[0]
    for guest in config.guests:
        if guest.name == name:
            return guest
    raise NoSuchGuest(f'the configuration has no guest "{name}"; it has: {names}')


def validate(data: dict[str, Any], folder: Path) -> Config:
    """Table by table; rules between tables are checked later. Raises ConfigError without a file name.

    Two passes, because what a guest leaves out follows from the service.
    """
    context: dict[str, Any] = {"folder": folder}
    if "service" not in data:
        raise MissingKey("the table [service] is missing; it needs at least a name")
    try:
        context["service"] = ServiceConfig.model_validate(data["service"], context=context)
    except ValidationError as error:
        raise one_line(error, data, ("service",)) from None
    try:
        return Config.model_validate(data, context=context)
    except ValidationError as error:
        raise one_line(error, data) from None
