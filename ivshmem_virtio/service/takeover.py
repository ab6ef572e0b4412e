# SPDX-License-Identifier: MIT
"""How a keeper comes to what another keeper of its service has left, or has still."""

from __future__ import annotations

import logging
import signal
from contextlib import suppress
from dataclasses import dataclass

from ivshmem_virtio.service.activation import stored_files
from ivshmem_virtio.service.config import Config
from ivshmem_virtio.service.description import Record, read_description
from ivshmem_virtio.service.descriptor_store import DescriptorStore
from ivshmem_virtio.service.end_of_service import end_everything
from ivshmem_virtio.service.legacy import DESCRIPTION
from ivshmem_virtio.service.systemd_store import SystemdStore, systemd_listens
from ivshmem_virtio.service.takeover_checks import DescriptorsMissing, TakeOverRefused, check
from ivshmem_virtio.service.vault_client import Contents, VaultClient

log = logging.getLogger("ivshmem_virtio.keeper")

LET_GO_SECONDS = 20.0
HAND_OVER = signal.SIGUSR2
"""Tells a keeper to leave everything to a successor, and end."""


class ServiceRuns(TakeOverRefused):
    """The service has a keeper that lives."""


class KeeperHoldsOn(TakeOverRefused):
    """The living keeper was asked to hand over, and does not."""


@dataclass
class Inheritance:
    """What a keeper goes on with. Owns the descriptors and the store."""

    record: Record
    files: dict[str, int]
    store: DescriptorStore


def open_store(config: Config) -> DescriptorStore:
    """A store for what has not been stored yet: a new vault process, or systemd where that is wanted and there.

    Raises what Listener raises, and OSError.
    """
    if uses_systemd(config):
        return SystemdStore()
    if config.service.vault == "systemd":
        log.warning('vault = "systemd", but no systemd started this: a process keeps the descriptors instead')
    config.vault_socket.parent.mkdir(parents=True, exist_ok=True)
    return VaultClient.start(config.vault_socket)


def uses_systemd(config: Config) -> bool:
    """Whether systemd keeps the descriptors."""
    return config.service.vault == "systemd" and systemd_listens()


def take_over(config: Config, *, replace: bool = False, afresh: bool = False) -> Inheritance | None:
    """Everything that an earlier keeper of the service has left, None where there was none.

    ``replace``: a living keeper is asked to hand over, after everything has been checked; without it, ServiceRuns is
    raised. ``afresh``: what a dead keeper has left is ended instead. Raises TakeOverRefused, DescriptionUnusable,
    ChannelError and StoreLost; whatever is raised, the other keeper and its back-ends go on as if nothing had been.
    """
    inheritance = _from_systemd(config, afresh) or _from_vault(config, replace, afresh)
    if inheritance is not None and afresh:
        log.warning("ending what a dead keeper has left")
        end_everything(inheritance.store, inheritance.files)
        return None
    return inheritance


def _from_systemd(config: Config, afresh: bool) -> Inheritance | None:
    files = stored_files()
    if not files:
        return None
    inheritance = Inheritance({}, files, SystemdStore(files))
    if afresh:
        return inheritance
    try:
        if DESCRIPTION not in files:
            raise DescriptorsMissing("the description of the last keeper's descriptors is missing")
        inheritance.record = read_description(files[DESCRIPTION])
        check(inheritance.record, files, config)
    except DescriptorsMissing as error:
        # There is nobody else who could have them.
        log.error("cannot go on where the last keeper ended, so everything begins anew: %s", error)
        end_everything(inheritance.store, files)
        return None
    return inheritance


def _from_vault(config: Config, replace: bool, afresh: bool) -> Inheritance | None:
    vault = VaultClient.connect(config.vault_socket)
    if vault is None:
        return None
    try:
        inheritance = _negotiate(vault, config, replace, afresh)
    except BaseException:
        vault.close()
        raise
    return inheritance


def _negotiate(vault: VaultClient, config: Config, replace: bool, afresh: bool) -> Inheritance | None:
    contents = vault.look()
    try:
        if contents.keeper is not None and (afresh or not replace):
            raise ServiceRuns(
                f"service {config.service.name} is kept by process {contents.keeper}; end that one first"
                + ("" if afresh else ", or have this one take its place with --replace")
            )
        if DESCRIPTION in contents.files and not afresh:
            check(read_description(contents.files[DESCRIPTION]), contents.files, config)
        _ask_to_let_go(contents)
    finally:
        contents.close()
    if not vault.take(LET_GO_SECONDS):
        raise KeeperHoldsOn(
            f"the keeper of service {config.service.name} does not hand over within {LET_GO_SECONDS:g} s: it hangs, "
            "its log says why not, or another process was faster; if it ends later, start serve again"
        )
    return _inherit(vault, afresh)


def _ask_to_let_go(contents: Contents) -> None:
    if contents.keeper_pidfd is not None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(contents.keeper_pidfd, HAND_OVER)


def _inherit(vault: VaultClient, afresh: bool) -> Inheritance | None:
    """What is there now that no other keeper is."""
    contents = vault.look()
    files = dict(contents.files)
    if DESCRIPTION not in files:
        # The keeper was killed before it had anything to leave.
        contents.close()
        vault.end()
        return None
    contents.files.clear()
    contents.close()
    # Whatever cannot be read can still be ended.
    return Inheritance({} if afresh else read_description(files[DESCRIPTION]), files, vault)
