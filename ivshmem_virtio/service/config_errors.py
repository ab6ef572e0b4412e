# SPDX-License-Identifier: MIT
"""What can be wrong with a service configuration, one class per kind."""

from __future__ import annotations

from ivshmem_virtio.errors import IvshmemVirtioError


class ConfigError(IvshmemVirtioError):
    """A configuration cannot be used; the message names file, key, value and remedy, on one line whatever these hold"""

    def __init__(self, message: str) -> None:
        super().__init__("".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in message))


class ConfigUnreadable(ConfigError):
    """The file cannot be opened or is not UTF-8."""


class ConfigSyntaxError(ConfigError):
    """The file is not TOML."""


class UnknownKey(ConfigError):
    """A key that means nothing here: most often a typing error."""


class MissingKey(ConfigError):
    """A key without a default is not there."""


class InvalidValue(ConfigError):
    """A value breaks the rule of its key."""


class DuplicateName(ConfigError):
    """Two things that must differ have the same name, socket, address or image."""


class ImageUnusable(ConfigError):
    """The image of a block device is missing, not accessible or of an impossible size."""


class PathTooLong(ConfigError):
    """A socket path does not fit into a socket address (unix(7): 107 bytes)."""


class RegionTooSmall(ConfigError):
    """The links of a guest do not fit into its region."""


class WindowTooSmall(ConfigError):
    """A window has no room for its rings and the buffers they need."""


class ForeignDeviceUnusable(ConfigError):
    """The class named by ``type = "module:Class"`` cannot be imported or made."""


class NoSuchGuest(ConfigError):
    """A guest asked for by name is not in the configuration."""
