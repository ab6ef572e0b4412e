# SPDX-License-Identifier: MIT
"""One link as it lies in memory: states, header, extension, queues."""

from __future__ import annotations

from dataclasses import dataclass

from ivshmem_virtio.core import Window
from ivshmem_virtio.errors import OutsideWindow
from ivshmem_virtio.inspect.names import queue_name
from ivshmem_virtio.inspect.queue_view import QueueView, view_queue
from ivshmem_virtio.inspect.region_file import RegionFile
from ivshmem_virtio.inspect.status_file import LinkStatus
from ivshmem_virtio.link.layout import BACKEND, FRONTEND, BackendLine, FrontendLine, Header
from ivshmem_virtio.link.state_table import entry_offset
from ivshmem_virtio.service.plan import LinkPlan
from ivshmem_virtio.transport.driver.backend import Backend, read_backend
from ivshmem_virtio.transport.driver.errors import BackendViolation
from ivshmem_virtio.transport.feature_names import feature_names
from ivshmem_virtio.transport.transaction import Transaction


@dataclass(frozen=True)
class BackendWords:
    """Line 0 of the extension, and what of it moves."""

    capabilities: int
    epoch: int
    session: int
    heartbeat: int
    acknowledged: int


@dataclass(frozen=True)
class FrontendWords:
    """Line 1 of the extension: hints, the guest can write anything here."""

    incarnation: int
    capabilities: int
    peer: int | None
    heartbeat: int


@dataclass(frozen=True)
class FeatureView:
    """Feature bits by name. ``complete`` is False where only the half that the header shows is known."""

    offered: tuple[str, ...]
    accepted: tuple[str, ...] | None
    complete: bool


@dataclass(frozen=True)
class LinkView:
    """Everything about one link. ``header_problem`` says why the header cannot be used, where that is so.

    ``served_by`` and ``trouble`` are what the back-end says of itself, see LinkStatus; None where it says nothing.
    """

    name: str
    device_id: int
    offset: int
    window_size: int
    backend_state: int
    frontend_state: int
    revision: int
    header_size: int
    header_problem: str | None
    transaction: Transaction | None
    device_status: int
    config_event: bool
    config_changing: bool
    backend: BackendWords | None
    frontend: FrontendWords | None
    features: FeatureView
    status_known: bool
    served_by: str | None
    trouble: str | None
    queues: tuple[QueueView, ...]


def view_link(region: RegionFile, link: LinkPlan, status: LinkStatus | None) -> LinkView:
    """Look at one link once."""
    layout = link.layout
    table = region.window(layout.offset, layout.state_table_size)
    window = region.window(layout.window_offset, layout.rw_size)
    try:
        states = [table.load32(entry_offset(index)) for index in (BACKEND, FRONTEND)]
        return _view(window, link, status, states[BACKEND], states[FRONTEND])
    finally:
        window.close()
        table.close()


def _view(window: Window, link: LinkPlan, status: LinkStatus | None, backend: int, frontend: int) -> LinkView:
    header, problem = _header(window)
    word = window.load32(Header.WRITE_TRANSACTION)
    device_id = link.layout.device_id
    said = status
    if status is not None and status.served_by == "nobody":
        status = None  # who does not serve knows nothing of the driver
    queues = {queue.index: queue for queue in status.queues} if status is not None else {}
    count = len(link.shape.queue_sizes)
    return LinkView(
        name=link.layout.name,
        device_id=device_id,
        offset=link.layout.offset,
        window_size=link.layout.rw_size,
        backend_state=backend,
        frontend_state=frontend,
        revision=window.load32(Header.REVISION),
        header_size=window.load32(Header.SIZE),
        header_problem=problem,
        transaction=Transaction(word) if word else None,
        device_status=window.load32(Header.DEVICE_STATUS) & 0xFF,
        config_event=window.load8(Header.CONFIG_EVENT) != 0,
        config_changing=window.load32(Header.CONFIG_GENERATION) % 2 == 1,
        backend=_backend_words(window, header),
        frontend=_frontend_words(window, header),
        features=_features(window, device_id, status),
        status_known=status is not None,
        served_by=said.served_by if said is not None else None,
        trouble=said.trouble if said is not None else None,
        queues=tuple(
            view_queue(window, queue_name(device_id, index, count), index, header, queues.get(index))
            for index in range(count)
        ),
    )


def _header(window: Window) -> tuple[Backend | None, str | None]:
    try:
        return read_backend(window), None
    except (BackendViolation, OutsideWindow) as error:
        return None, str(error)


def _backend_words(window: Window, header: Backend | None) -> BackendWords | None:
    if header is None or header.extension is None:
        return None
    line = header.extension.offset
    return BackendWords(
        capabilities=window.load32(line + BackendLine.CAPABILITIES),
        epoch=header.extension.epoch,
        session=header.extension.session,
        heartbeat=window.load32(line + BackendLine.HEARTBEAT),
        acknowledged=window.load64(line + BackendLine.INCARNATION_ACKNOWLEDGED),
    )


def _frontend_words(window: Window, header: Backend | None) -> FrontendWords | None:
    if header is None or header.extension is None:
        return None
    line = header.extension.frontend_line
    peer = window.load32(line + FrontendLine.PEER_PLUS_ONE)
    return FrontendWords(
        incarnation=window.load64(line + FrontendLine.INCARNATION),
        capabilities=window.load32(line + FrontendLine.CAPABILITIES),
        peer=peer - 1 if peer else None,
        heartbeat=window.load32(line + FrontendLine.HEARTBEAT),
    )


def _features(window: Window, device_id: int, status: LinkStatus | None) -> FeatureView:
    if status is not None:
        offered = tuple(feature_names(device_id, status.offered))
        return FeatureView(offered, tuple(feature_names(device_id, status.features)), complete=True)
    half = window.load32(Header.DEVICE_FEATURES_SEL)
    shown = window.load32(Header.DEVICE_FEATURES) << 32 * half if half in (0, 1) else 0
    return FeatureView(tuple(feature_names(device_id, shown)), None, complete=False)
