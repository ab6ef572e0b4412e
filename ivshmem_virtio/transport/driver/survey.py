# SPDX-License-Identifier: MIT
"""What a driver can say about a device it was brought up with."""

from __future__ import annotations

from typing import Any

from ivshmem_virtio.link.layout import Capability, Header, LinkLayout
from ivshmem_virtio.transport.driver.backend import read_ring_block
from ivshmem_virtio.transport.driver.transport import DriverTransport
from ivshmem_virtio.transport.feature_names import device_type, feature_names

MOST_QUEUES = 1024


def survey(layout: LinkLayout, transport: DriverTransport) -> dict[str, Any]:
    """Plain words and numbers for one device; raises what its transactions raise."""
    backend = transport.backend
    features = transport.device_features()
    return {
        "name": layout.name,
        "device": device_type(layout.device_id),
        "device_id": layout.device_id,
        "offset": layout.offset,
        "window": layout.rw_size,
        "reserved": backend.size,
        "backend_peer": layout.backend_peer,
        "revision": backend.revision,
        "epoch": f"{backend.epoch:016x}",
        "capabilities": [bit.name for bit in Capability if bit in backend.capabilities],
        "features": feature_names(layout.device_id, features),
        "queues": list_queues(transport),
        "configuration": transport.read_config(0, backend.config_length).hex(),
    }


def list_queues(transport: DriverTransport) -> list[dict[str, Any]]:
    """Every queue up to the first that does not exist."""
    window, backend = transport.link.window, transport.backend
    queues = []
    most = backend.extension.queue_count if backend.extension else MOST_QUEUES
    for index in range(most):
        transport.write_register(Header.QUEUE_SEL, index)
        size = window.load16(Header.QUEUE_SIZE)
        if size == 0:
            break
        block = read_ring_block(window, backend, index)
        queues.append(
            {
                "index": index,
                "size": size,
                "device_vector": window.load16(Header.QUEUE_DEVICE_VECTOR),
                "ring_block": None if block is None else f"{block[0]:#x}",
            }
        )
    return queues
