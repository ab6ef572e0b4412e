# SPDX-License-Identifier: MIT
"""Which queue of a network device is which (virtio 1.4, 5.1.2): pairs of receive and transmit queue, then control."""

from __future__ import annotations

from ivshmem_virtio.devices.net_header import Feature

NET_DEVICE_ID = 1
RECEIVE = 0
TRANSMIT = 1
CONTROL_QUEUE_SIZE = 64
MOST_PAIRS = 8


def pair_of(index: int) -> int:
    """The pair that a queue belongs to, unless it is the control queue."""
    return index // 2


def direction(index: int) -> int:
    """RECEIVE or TRANSMIT."""
    return index % 2


def queue_sizes(pairs: int, size: int) -> tuple[int, ...]:
    """Largest size of each queue. With a single pair there is no control queue: nothing would be asked on it, and a
    driver spins for its answers."""
    if pairs == 1:
        return (size, size)
    return (*[size] * (2 * pairs), CONTROL_QUEUE_SIZE)


def most_pairs(queues: int) -> int:
    """Pairs of a device with so many queues in all."""
    return queues // 2


def seldom_rung(device_id: int, queues: int) -> tuple[int, ...]:
    """Queues of a device, with so many in all, that doorbells need not be spared for: where the control queue is as a
    rule."""
    return (queues - 1,) if device_id == NET_DEVICE_ID and queues > 2 else ()


def control_queue(accepted: int, pairs: int) -> int | None:
    """Index of the control queue, where the driver accepted one: behind all pairs, or, for a driver that will not use
    more than the first one, behind that."""
    if not accepted & Feature.CTRL_VQ:
        return None
    return 2 * pairs if accepted & Feature.MQ else 2
