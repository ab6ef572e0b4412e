# SPDX-License-Identifier: MIT
"""Who owes whom what, in words: the rules of the protocol applied to what lies in a window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ivshmem_virtio.inspect.link_view import LinkView
from ivshmem_virtio.inspect.names import field_name, holds_empty_buffers, state_name
from ivshmem_virtio.inspect.queue_view import QueueView
from ivshmem_virtio.link.layout import Owner, State
from ivshmem_virtio.transport.features import Status

BACK_END = "back-end"
FRONT_END = "front-end"
NOBODY = "nobody"


@dataclass(frozen=True)
class Finding:
    """One thing that is due. ``who``: who has to act next."""

    who: str
    text: str


def diagnose(link: LinkView, earlier: LinkView | None = None) -> list[Finding]:
    """Everything that is due on a link, most fundamental first; ``earlier`` is the same link some time before.

    Where nothing is due there is one finding that says so.
    """
    due = [*_presence(link), *_heartbeat(link, earlier)]
    if link.backend_state in (State.READY, State.RESUMING):
        due += [*_header(link), *_handshake(link)]
        if link.frontend_state == State.READY and link.header_problem is None:
            due += [*_status(link), *_queues(link, earlier)]
    return due or [Finding(NOBODY, "both sides are up and nothing is due")]


def _presence(link: LinkView) -> Iterator[Finding]:
    for who, state in ((BACK_END, link.backend_state), (FRONT_END, link.frontend_state)):
        allowed = (State.ABSENT, State.READY) if who == FRONT_END else tuple(State)
        if state not in allowed:
            yield Finding(
                who, f"its state is {state_name(state)}; 0 and 1 are allowed" + (", and 2" * (who == BACK_END))
            )
    if link.backend_state == State.ABSENT:
        waiting = "; the front-end waits for it" if link.frontend_state == State.READY else ""
        yield Finding(BACK_END, f"absent: {_why_absent(link)}{waiting}")
    elif link.frontend_state == State.ABSENT:
        yield Finding(FRONT_END, "absent: the back-end waits for a driver (guest not started, or module not loaded)")
    if link.backend_state != State.ABSENT and link.served_by == "errors":
        yield Finding(BACK_END, f"answers requests with errors, as its device cannot be opened: {link.trouble}")
    if link.backend_state == State.RESUMING:
        yield Finding(BACK_END, "resuming: it redoes what was in flight when its predecessor ended")


def _why_absent(link: LinkView) -> str:
    if link.served_by == "nobody" and link.trouble is not None:
        return f"its device cannot be opened, and is tried again: {link.trouble}"
    return "it left or is not yet done starting" if link.revision else "it has never been here"


def _heartbeat(link: LinkView, earlier: LinkView | None) -> Iterator[Finding]:
    if link.backend_state == State.ABSENT or earlier is None or link.backend is None or earlier.backend is None:
        return
    if link.backend.session == earlier.backend.session and link.backend.heartbeat == earlier.backend.heartbeat:
        yield Finding(
            BACK_END, "its heartbeat stands still: it is stopped, hangs, or died under a server that did not say"
        )


def _header(link: LinkView) -> Iterator[Finding]:
    if link.header_problem is not None:
        yield Finding(BACK_END, f"its header cannot be used: {link.header_problem}")


def _handshake(link: LinkView) -> Iterator[Finding]:
    if link.frontend_state != State.READY:
        return
    if link.backend and link.frontend and link.frontend.incarnation != link.backend.acknowledged:
        yield Finding(BACK_END, f"owes the acknowledgement of incarnation {link.frontend.incarnation:#x}")
    if link.transaction is not None:
        yield Finding(BACK_END, f"owes the answer to a write of {field_name(link.transaction.offset)}")


def _status(link: LinkView) -> Iterator[Finding]:
    status = link.device_status
    if status & Status.NEEDS_RESET:
        yield Finding(FRONT_END, "owes a reset: the back-end found a broken rule and says in its log which")
    elif status & Status.FAILED:
        yield Finding(FRONT_END, "gave up on the device (FAILED); its kernel log says why")
    elif not status & Status.DRIVER:
        yield Finding(FRONT_END, "is there, but no virtio driver took the device (module of this device type loaded?)")
    elif not status & Status.FEATURES_OK:
        yield Finding(FRONT_END, "has still to settle features")
    elif not status & Status.DRIVER_OK:
        yield Finding(FRONT_END, "has still to finish its set-up (DRIVER_OK)")
    if link.config_event:
        yield Finding(FRONT_END, "has still to look at a configuration change")


def _queues(link: LinkView, earlier: LinkView | None) -> Iterator[Finding]:
    before = {queue.index: queue for queue in earlier.queues} if earlier is not None else {}
    for queue in link.queues:
        if queue.problem is not None:
            yield Finding(FRONT_END, f"queue {queue.index} ({queue.name}) makes no sense: {queue.problem}")
        elif link.device_status & Status.DRIVER_OK:
            yield from _queue(link, queue, before.get(queue.index))


def _queue(link: LinkView, queue: QueueView, before: QueueView | None) -> Iterator[Finding]:
    if queue.event:
        yield Finding(FRONT_END, f"queue {queue.index} ({queue.name}): has still to look at used buffers")
    if queue.owner == Owner.FRONTEND:
        yield Finding(FRONT_END, f"queue {queue.index} ({queue.name}): its stand-in has the ring and must give it back")
    indices = queue.indices
    if indices is None or not indices.outstanding or (queue.place is not None and queue.place.enabled is False):
        return
    if holds_empty_buffers(link.device_id, queue.index, len(link.queues)):
        return
    what = f"queue {queue.index} ({queue.name}): owes {indices.outstanding} answers"
    if before is not None and before.indices is not None and before.indices.used == indices.used:
        not_woken = "; it has not looked since it was last to be rung" if indices.kick_due else ""
        yield Finding(BACK_END, f"{what}, none came meanwhile{not_woken}")
    else:
        yield Finding(BACK_END, what)
