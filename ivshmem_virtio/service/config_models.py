# SPDX-License-Identifier: MIT
"""The tables of a service configuration above its devices: service, guest, virtual machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr, ValidationInfo, field_validator, model_validator

from ivshmem_virtio.link.layout import DIRECTORY_ENTRIES, PAGE_SIZE
from ivshmem_virtio.service.config_devices import DeviceConfig
from ivshmem_virtio.service.config_fields import HostPath, Name, Size, Table, stable_mac
from ivshmem_virtio.service.config_net import NetConfig
from ivshmem_virtio.service.size import format_size, is_power_of_two, next_power_of_two
from ivshmem_virtio.transport.doorbell_watch import DOORBELL_RATE

LARGEST_REGION = 1 << 40
MOST_VECTORS = 64
MOST_DOORBELLS = 10_000_000
LEAST_MEMORY = 64 << 20
MEMORY_UNIT = 1 << 20


def default_runtime_dir(name: str) -> Path:
    """``/run`` for root, the user's own runtime folder for everybody else; raises ValueError when there is none."""
    if os.geteuid() == 0:
        return Path("/run/ivshmem-virtio") / name
    own = os.environ.get("XDG_RUNTIME_DIR")
    if not own:
        raise ValueError("runtime_dir must be given: XDG_RUNTIME_DIR is not set, and only root may use /run")
    return Path(own) / "ivshmem-virtio" / name


class ServiceConfig(Table):
    """``[service]``: what all guests have in common."""

    name: Name
    runtime_dir: HostPath
    mode: Annotated[StrictInt, Field(ge=0)] = 0o600
    owner: StrictStr | None = None
    confine: StrictBool = True
    vault: Literal["process", "systemd"] = "process"

    @model_validator(mode="before")
    @classmethod
    def _runtime_dir(cls, data: Any) -> Any:
        if isinstance(data, dict) and "runtime_dir" not in data and isinstance(data.get("name"), str):
            return {**data, "runtime_dir": str(default_runtime_dir(data["name"]))}
        return data

    @field_validator("mode", mode="before")
    @classmethod
    def _mode(cls, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int) or value & ~0o666 or value & 0o600 != 0o600:
            raise ValueError("must be an octal mode with 6 for the owner and no execute bit, such as 0o660")
        return value


class VmConfig(Table):
    """``[guest.vm]``: what ``run`` gives the virtual machine; nothing else reads it."""

    memory: Size = 512 << 20
    cpus: Annotated[StrictInt, Field(ge=1, le=256)] = 1
    kernel: HostPath | None = None

    @field_validator("memory")
    @classmethod
    def _memory(cls, value: int) -> int:
        if value < LEAST_MEMORY or value % MEMORY_UNIT:
            raise ValueError(f'must be at least "{format_size(LEAST_MEMORY)}", in whole megabytes')
        return value


class GuestConfig(Table):
    """``[[guest]]``: one region, one socket, and the devices on it."""

    name: Name
    region: Size = 64 << 20
    vectors: Annotated[StrictInt, Field(ge=1, le=MOST_VECTORS)] = 16
    doorbell_rate: Annotated[StrictInt, Field(ge=1, le=MOST_DOORBELLS)] = DOORBELL_RATE
    socket: HostPath
    vm: VmConfig = VmConfig()
    devices: Annotated[tuple[DeviceConfig, ...], Field(alias="device", min_length=1, max_length=DIRECTORY_ENTRIES)]

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any, info: ValidationInfo) -> Any:
        """What follows from names: the socket's path, and addresses of network interfaces."""
        service: ServiceConfig | None = (info.context or {}).get("service")
        if service is None or not isinstance(data, dict):
            return data
        name = str(data.get("name"))
        filled = {"socket": str(service.runtime_dir / f"{name}.sock"), **data}
        if isinstance(data.get("device"), list):
            filled["device"] = [_with_mac(device, service.name, name) for device in data["device"]]
        return filled

    @field_validator("region")
    @classmethod
    def _region(cls, value: int) -> int:
        if not is_power_of_two(value):
            raise ValueError(
                f'must be a power of two (it is a PCI BAR); next is "{format_size(next_power_of_two(value))}"'
            )
        if not PAGE_SIZE <= value <= LARGEST_REGION:
            raise ValueError(f'must lie between "{format_size(PAGE_SIZE)}" and "{format_size(LARGEST_REGION)}"')
        return value


def _with_mac(device: Any, service: str, guest: str) -> Any:
    if isinstance(device, dict) and device.get("type") == "net" and "mac" not in device:
        return {**device, "mac": stable_mac(service, guest, str(device.get("name", "net")))}
    return device


class Config(Table):
    """A whole configuration, valid in itself; whether images and sockets can be used is looked at apart."""

    service: ServiceConfig
    guests: Annotated[tuple[GuestConfig, ...], Field(alias="guest", min_length=1)]

    @property
    def switches(self) -> tuple[str, ...]:
        """Names of all switches, in the order in which the file first names them."""
        vias = (device.via for guest in self.guests for device in guest.devices if isinstance(device, NetConfig))
        return tuple(dict.fromkeys(via.switch for via in vias if via.switch is not None))

    def shared_memory(self, guest: GuestConfig) -> str:
        """Name of a guest's region below /dev/shm."""
        return f"{self.service.name}.{guest.name}"

    @property
    def vault_socket(self) -> Path:
        """Where the process listens that keeps the keeper's descriptors."""
        return self.service.runtime_dir / f"{self.service.name}.vault"

    def status_file(self, guest: GuestConfig, switch: str | None = None) -> Path:
        """Where a back-end says what only it knows (read by ``inspect``): the guest's own, or that of a switch."""
        folder = Path("backends", guest.name) if switch is None else Path("switches", switch)
        return self.service.runtime_dir / folder / f"{guest.name}.json"
