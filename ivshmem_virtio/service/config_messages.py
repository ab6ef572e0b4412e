# SPDX-License-Identifier: MIT
"""Turns what pydantic finds into one line in our words: where, key, value, rule."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ivshmem_virtio.service.config_console import PortConfig
from ivshmem_virtio.service.config_devices import DEVICE_TABLES
from ivshmem_virtio.service.config_errors import ConfigError, InvalidValue, MissingKey, UnknownKey
from ivshmem_virtio.service.config_fields import Table
from ivshmem_virtio.service.config_models import Config, GuestConfig, ServiceConfig, VmConfig
from ivshmem_virtio.service.config_net import NetVia

RULES = {
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "tuple_type": "must be a list (of tables, each begins with [[ ]])",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least one",
    "too_long": "must have at most {max_length}",
}
TABLES: dict[str, type[Table]] = {
    "service": ServiceConfig,
    "guest": GuestConfig,
    "vm": VmConfig,
    "ports": PortConfig,
    "via": NetVia,
    **DEVICE_TABLES,
}


Location = tuple[int | str, ...]


def one_line(error: ValidationError, data: Any, table: Location = ()) -> ConfigError:
    """The first thing that is wrong in ``data``, and how many more there are; ``table`` is what was validated."""
    details = [detail for detail in error.errors(include_url=False) if not _follows_from_another(detail)]
    # A key written wrong is often both unknown and missing; the unknown one says more.
    details.sort(key=lambda detail: detail["type"] != "extra_forbidden")
    found = _explain(details[0], (*table, *details[0]["loc"]), data)
    if len(details) > 1:
        return type(found)(f"{found} (and {len(details) - 1} more)")
    return found


def _follows_from_another(detail: ErrorDetails) -> bool:
    """A list counts as too short when its only element is invalid."""
    return detail["type"] == "too_short" and bool(detail["input"])


def _explain(detail: ErrorDetails, loc: Location, data: Any) -> ConfigError:
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return UnknownKey(f"{_place(loc[:-1], data)}unknown key {loc[-1]}{_meant(loc)}")
    if kind == "missing":
        return MissingKey(f"{_place(loc[:-1], data)}{loc[-1]} is missing")
    if kind.startswith("union_tag"):
        return InvalidValue(f"{_place(loc, data)}{_union(detail)}")
    rule = str(context["error"]) if "error" in context else RULES.get(kind, detail["msg"]).format(**context)
    last = loc[-1] if loc else ""
    # A rule about a table as a whole names the table; everything else names a key and its value.
    whole_table = kind == "value_error" and isinstance(detail["input"], dict)
    if _is_key(loc, data) and not whole_table:
        return InvalidValue(f"{_place(loc[:-1], data)}{last} = {_shown(detail['input'])} {rule}")
    return InvalidValue(f"{_place(loc, data)}{rule}")


def _union(detail: ErrorDetails) -> str:
    """What to say of a device without a usable type."""
    value = detail["input"].get("type") if isinstance(detail["input"], dict) else detail["input"]
    if value is None:
        return "type is missing"
    known = ", ".join(name for name in DEVICE_TABLES if name != "foreign")
    return f'type = {_shown(value)} must be one of {known}, or "module:Class"'


def _walk(loc: Location, data: Any) -> list[tuple[int | str, Any]]:
    """The parts of a location that exist in the file, each with what stands there; pydantic adds parts of its own."""
    steps: list[tuple[int | str, Any]] = []
    for part in loc:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            continue
        steps.append((part, data))
    return steps


def _is_key(loc: Location, data: Any) -> bool:
    steps = _walk(loc, data)
    return (
        bool(steps) and isinstance(steps[-1][0], str) and steps[-1][0] == loc[-1] and not isinstance(steps[-1][1], list)
    )


def _place(loc: Location, data: Any) -> str:
    """Such as ``guest "web", device "root": ``: names where there are some, numbers from 1 where not."""
    words: list[str] = []
    for part, value in _walk(loc, data):
        if isinstance(part, int):
            words[-1] += f" {_label(value, part)}"
        else:
            words.append(part)
    return ", ".join(words) + ": " if words else ""


def _label(value: Any, index: int) -> str:
    name = value.get("name", value.get("type")) if isinstance(value, dict) else None
    return f'"{name}"' if isinstance(name, str) else f"#{index + 1}"


def _shown(value: Any) -> str:
    """A value as TOML writes it, short."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text.replace("\n", "\\n") if len(text) <= 80 else f"{text[:77]}..."


def _meant(loc: Location) -> str:
    """A guess at the key that was meant, or the list of keys."""
    words = [part for part in loc[:-1] if isinstance(part, str)]
    table = next((TABLES[word] for word in reversed(words) if word in TABLES), Config)
    known = [field.alias or name for name, field in table.model_fields.items()]
    close = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known keys: {', '.join(known)}"
