# SPDX-License-Identifier: MIT
"""The header and extension as the back-end publishes them: an image of private state (docs/protocol.md, 4 and 6)."""

from __future__ import annotations

import secrets

from ivshmem_virtio.core import Window
from ivshmem_virtio.link.layout import (
    REVISION,
    BackendLine,
    Capability,
    FrontendLine,
    Header,
    QueueLine,
)
from ivshmem_virtio.link.registers import RegisterMap
from ivshmem_virtio.transport.queue_state import QueueState

OFFERED_CAPABILITIES = (
    Capability.HOST_PLACED_RINGS | Capability.SIZED_TRANSACTIONS | Capability.EVENT_BYTES | Capability.ANSWERED_POSITION
)


class Registers:
    """Writes the back-end's fields of one window, and reads the front-end's words once each."""

    def __init__(self, window: Window, layout: RegisterMap) -> None:
        self.window = window
        self.layout = layout
        self._generation = 0
        # Where a predecessor stood still, its number must not be ours: the front-end would go on taking us for it.
        self._heartbeat = secrets.randbits(32)
        self.capabilities = OFFERED_CAPABILITIES
        self._left = b""

    def publish(self, epoch: int, session: int, config: bytes, queues: list[QueueState]) -> None:
        """Lay out everything anew, but for the rings, which a driver of before may still look at: they are the driver's
        to clear. Only while the own state is absent (docs/protocol.md, 7).
        """
        self.window.zero(0, self.layout.end)
        self.window.write(Header.CONFIG, config)
        self.publish_again(epoch, session, len(config), queues)

    def publish_again(self, epoch: int, session: int, config_length: int, queues: list[QueueState]) -> None:
        """What is the back-end's alone: where a predecessor was killed, whatever the front-end has written stands."""
        window, layout = self.window, self.layout
        window.store32(Header.REVISION, REVISION)
        window.store32(Header.SIZE, layout.reserved)
        window.store16(Header.EXT_OFFSET, layout.backend_line // 64)
        line = layout.backend_line
        window.store32(line + BackendLine.LENGTH, layout.end - line)
        window.store32(line + BackendLine.CAPABILITIES, self.capabilities)
        window.store64(line + BackendLine.EPOCH, epoch)
        window.store64(line + BackendLine.SESSION, session)
        window.store32(line + BackendLine.HEARTBEAT, self._heartbeat)
        window.store32(line + BackendLine.CONFIG_LENGTH, config_length)
        window.store16(line + BackendLine.BACKEND_CONFIG_VECTOR, 0)
        window.store16(line + BackendLine.QUEUE_COUNT, len(queues))
        for queue in queues:
            line = layout.queue_line(queue.index)
            offset, length = layout.ring_block(queue.index)
            window.store64(line + QueueLine.RING_OFFSET, offset)
            window.store32(line + QueueLine.RING_LENGTH, length)
            window.store32(line + QueueLine.IN_FLIGHT, layout.in_flight_hint(queue.index))

    def restore(self, epoch: int, session: int, config: bytes, queues: list[QueueState]) -> None:
        """The header as it was, where a front-end has written over what is not its own. Only while none is there that
        was acknowledged. Looked at every second for every idle device, so it is written only where it was changed.
        """
        if self._image() == self._left:
            return
        self.publish_again(epoch, session, len(config), queues)
        self.window.write(Header.CONFIG, config)
        self.window.store32(Header.CONFIG_GENERATION, self._generation)
        self._left = self._image()

    def _image(self) -> bytes:
        """Everything below the rings, but for the heartbeat."""
        image = self.window.read(0, self.layout.end)
        heartbeat = self.layout.backend_line + BackendLine.HEARTBEAT
        return image[:heartbeat] + image[heartbeat + 4 :]

    def show_queue(self, queue: QueueState | None) -> None:
        """Publish fields 20 to 3F; all zero for a queue that does not exist."""
        shown = queue or QueueState.missing()
        self.window.store16(Header.QUEUE_SIZE, shown.size)
        self.window.store16(Header.QUEUE_DEVICE_VECTOR, shown.device_vector)
        self.window.store16(Header.QUEUE_DRIVER_VECTOR, shown.driver_vector)
        self.window.store16(Header.QUEUE_ENABLE, int(shown.enabled))
        self.window.store64(Header.QUEUE_DESC, shown.desc)
        self.window.store64(Header.QUEUE_DRIVER, shown.driver)
        self.window.store64(Header.QUEUE_DEVICE, shown.device)

    def show_features(self, features: int) -> None:
        """Publish 32 offered feature bits."""
        self.window.store32(Header.DEVICE_FEATURES, features)

    def show_status(self, status: int) -> None:
        self.window.store32(Header.DEVICE_STATUS, status)

    def continue_generation(self) -> None:
        """Count on from the generation shown: the driver must not see an earlier number under another content."""
        self._generation = (self.window.load32(Header.CONFIG_GENERATION) + 1) & 0xFFFFFFFE

    def show_config(self, config: bytes) -> None:
        """Publish the configuration under a new generation; odd while it changes (virtio 1.4, 2.5.2)."""
        self._generation = (self._generation + 1) & 0xFFFFFFFF
        self.window.store32(Header.CONFIG_GENERATION, self._generation)
        # A full fence on either side: a driver that read equal even generations around its reads saw one state.
        self.window.fence()
        self.window.write(Header.CONFIG, config)
        self.window.fence()
        self._generation = (self._generation + 1) & 0xFFFFFFFF
        self.window.store32(Header.CONFIG_GENERATION, self._generation)

    def raise_config_event(self) -> None:
        self.window.store8(Header.CONFIG_EVENT, 1)

    def raise_queue_event(self, queue: int) -> None:
        """Mark used buffers for a driver whose queues share vectors, of either revision."""
        self.window.store8(self.layout.event_byte(queue), 1)
        self.window.store8(Header.QUEUE_EVENT, 1)

    def acknowledge(self, incarnation: int) -> None:
        self.window.store64(self.layout.backend_line + BackendLine.INCARNATION_ACKNOWLEDGED, incarnation)

    def beat(self) -> None:
        """One heartbeat; about two a second tell the front-end that this process lives."""
        self._heartbeat = (self._heartbeat + 1) & 0xFFFFFFFF
        self.window.store32(self.layout.backend_line + BackendLine.HEARTBEAT, self._heartbeat)

    def incarnation(self) -> int:
        """The front-end's incarnation; 0 for a revision-1 driver."""
        return self.window.load64(self.layout.frontend_line + FrontendLine.INCARNATION)

    def frontend_capabilities(self) -> int:
        """What the front-end can do beyond revision 1; 0 for a revision-1 driver."""
        return self.window.load32(self.layout.frontend_line + FrontendLine.CAPABILITIES)

    def claimed_peer(self) -> int | None:
        """The ivshmem peer id the front-end says it has; a hint. None where it does not say."""
        line = self.layout.frontend_line
        peer_plus_one = self.window.load32(line + FrontendLine.PEER_PLUS_ONE)
        return peer_plus_one - 1 if peer_plus_one else None

    def frontend_config_vector(self) -> int:
        """Link-relative vector for state and configuration changes; 0 for a revision-1 driver."""
        return self.window.load16(self.layout.frontend_line + FrontendLine.FRONTEND_CONFIG_VECTOR)
