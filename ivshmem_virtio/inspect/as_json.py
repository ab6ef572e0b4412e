# SPDX-License-Identifier: MIT
"""The JSON of ``inspect --json``. Its keys are an interface: they may be added to, not changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ivshmem_virtio.inspect.diagnosis import Finding
from ivshmem_virtio.inspect.guest_view import GuestView
from ivshmem_virtio.inspect.link_view import LinkView
from ivshmem_virtio.inspect.names import field_name, flag_names, state_name, status_names
from ivshmem_virtio.inspect.queue_view import QueueView
from ivshmem_virtio.link.layout import Capability
from ivshmem_virtio.transport.feature_names import device_type

VERSION = 1


def views_as_json(service: str, views: Sequence[GuestView]) -> dict[str, Any]:
    """The whole document."""
    return {"version": VERSION, "service": service, "guests": [_guest(view) for view in views]}


def _guest(view: GuestView) -> dict[str, Any]:
    return {
        "guest": view.guest,
        "region": {"path": str(view.region), "size": view.size},
        "socket": str(view.socket),
        "observed_seconds": view.observed_seconds,
        "status_files": [{"path": str(file.path), "pid": file.pid, "alive": file.alive} for file in view.status_files],
        "directory": {
            "problems": list(view.directory.problems),
            "entries": [asdict(entry) | {"differences": list(entry.differences)} for entry in view.directory.entries],
        },
        "links": [_link(link, findings) for link, findings in zip(view.links, view.due, strict=True)],
        "findings": [_finding(finding) for finding in view.general],
    }


def _link(link: LinkView, findings: tuple[Finding, ...]) -> dict[str, Any]:
    return {
        "name": link.name,
        "device": device_type(link.device_id),
        "device_id": link.device_id,
        "offset": link.offset,
        "window": link.window_size,
        "backend_state": state_name(link.backend_state),
        "frontend_state": state_name(link.frontend_state),
        "revision": link.revision,
        "header_size": link.header_size,
        "header_problem": link.header_problem,
        "transaction": _transaction(link),
        "device_status": {"value": link.device_status, "names": status_names(link.device_status)},
        "config_event": link.config_event,
        "config_changing": link.config_changing,
        "served_by": link.served_by,
        "trouble": link.trouble,
        "backend": _backend(link),
        "frontend": _frontend(link),
        "features": {
            "offered": list(link.features.offered),
            "accepted": None if link.features.accepted is None else list(link.features.accepted),
            "complete": link.features.complete,
        },
        "queues": [_queue(queue) for queue in link.queues],
        "findings": [_finding(finding) for finding in findings],
    }


def _transaction(link: LinkView) -> dict[str, Any] | None:
    word = link.transaction
    if word is None:
        return None
    return {"field": field_name(word.offset), "offset": word.offset, "size": word.size, "sequence": word.sequence}


def _backend(link: LinkView) -> dict[str, Any] | None:
    words = link.backend
    if words is None:
        return None
    return asdict(words) | {"capabilities": flag_names(Capability, words.capabilities)}


def _frontend(link: LinkView) -> dict[str, Any] | None:
    words = link.frontend
    if words is None:
        return None
    return asdict(words) | {"capabilities": flag_names(Capability, words.capabilities)}


def _queue(queue: QueueView) -> dict[str, Any]:
    return {
        "index": queue.index,
        "name": queue.name,
        "place": None if queue.place is None else asdict(queue.place),
        "indices": None if queue.indices is None else asdict(queue.indices),
        "packed_events": None if queue.packed_events is None else asdict(queue.packed_events),
        "outstanding": None if queue.indices is None else queue.indices.outstanding,
        "owner": queue.owner,
        "owner_changes": queue.owner_changes,
        "event": queue.event,
        "problem": queue.problem,
        "counters": dict(queue.counters),
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {"who": finding.who, "text": finding.text}
