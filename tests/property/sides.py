# SPDX-License-Identifier: MIT
"""The two halves of a ring, ours and the models', behind one face for the tests that mix them."""

from typing import Protocol

from ivshmem_virtio.core import Chain, DeviceQueue, DriverQueue, Window

from .packed_model import PackedModelDevice, PackedModelDriver
from .split_model import Layout, ModelChain, ModelDevice, ModelDriver, Segment


class DriverSide(Protocol):
    @property
    def free(self) -> int: ...

    def add(self, readable: list[Segment], writable: list[Segment], token: object, table: int | None) -> None: ...
    def publish(self) -> bool: ...
    def get(self) -> tuple[object, int] | None: ...
    def enable(self) -> bool: ...
    def disable(self) -> None: ...


class DeviceSide(Protocol):
    def pop(self) -> tuple[int, list[Segment], list[Segment]] | None: ...
    def push(self, head: int, written: int) -> None: ...
    def publish(self) -> bool: ...
    def enable(self) -> bool: ...
    def disable(self) -> None: ...
    def pending(self) -> int: ...


class OurDriver:
    def __init__(self, window: Window, layout: Layout, index: int) -> None:
        self.queue = DriverQueue(
            window,
            layout.size,
            layout.desc,
            layout.driver,
            layout.device,
            event_idx=layout.event_idx,
            indirect=layout.indirect,
            packed=layout.packed,
            index=None if layout.packed else index,
        )
        self.add = self.queue.add
        self.publish = self.queue.publish
        self.get = self.queue.get
        self.enable = self.queue.enable_callbacks
        self.disable = self.queue.disable_callbacks

    @property
    def free(self) -> int:
        return self.queue.free


class OurDevice:
    def __init__(self, window: Window, layout: Layout, index: int) -> None:
        self.queue = DeviceQueue(
            window,
            layout.size,
            layout.desc,
            layout.driver,
            layout.device,
            event_idx=layout.event_idx,
            indirect=layout.indirect,
            packed=layout.packed,
            index=None if layout.packed else index,
            minimum=layout.minimum,
        )
        self.held: dict[int, Chain] = {}
        self.publish = self.queue.publish
        self.enable = self.queue.enable_notifications
        self.disable = self.queue.disable_notifications
        self.pending = self.queue.pending

    def pop(self) -> tuple[int, list[Segment], list[Segment]] | None:
        chain = self.queue.pop()
        if chain is None:
            return None
        self.held[chain.head] = chain
        return chain.head, chain.readable, chain.writable

    def push(self, head: int, written: int) -> None:
        self.queue.push(self.held.pop(head), written)


class TheModelDevice:
    def __init__(self, window: Window, layout: Layout, index: int) -> None:
        self.model = PackedModelDevice(layout) if layout.packed else ModelDevice(layout, index)
        self.push = self.model.push
        self.publish = self.model.publish
        self.enable = self.model.enable
        self.disable = self.model.disable
        self.pending = self.model.pending

    def pop(self) -> tuple[int, list[Segment], list[Segment]] | None:
        chain: ModelChain | None = self.model.pop()
        return None if chain is None else (chain.head, chain.readable, chain.writable)


class TheModelDriver(ModelDriver):
    def __init__(self, window: Window, layout: Layout, index: int) -> None:
        super().__init__(layout, index)


class ThePackedModelDriver(PackedModelDriver):
    def __init__(self, window: Window, layout: Layout, index: int) -> None:
        super().__init__(layout)
