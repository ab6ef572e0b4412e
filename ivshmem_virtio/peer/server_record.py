# SPDX-License-Identifier: MIT
"""What a server leaves to its successor: a record that JSON can hold, and named descriptors.

A name stands for one file for ever: a client, or a listener, that takes the place of another has a name of its own.
Only fixed peers (guests and local ones) are in it: a client of an open socket is a stranger to the next server, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ivshmem_virtio.peer.descriptor import SharedDescriptor
from ivshmem_virtio.peer.outbox import Outgoing
from ivshmem_virtio.peer.sent_ledger import SentLedger
from ivshmem_virtio.peer.served_peer import Peer
from ivshmem_virtio.peer.wire import SHARED_MEMORY, decode

PeerRecord = dict[str, Any]
Files = dict[str, int]


def record_of(peers: Iterable[Peer]) -> tuple[list[PeerRecord], Files]:
    """The records of all fixed peers, and the descriptors they speak of. The descriptors stay the server's."""
    known = {peer.peer_id: peer for peer in peers}
    records: list[PeerRecord] = []
    files: Files = {}
    for peer in known.values():
        if not peer.fixed:
            continue
        record: PeerRecord = {"id": peer.peer_id, "vectors": len(peer.vectors), "local": peer.local}
        record |= {"present": peer.present, "generation": peer.generation}
        files |= {bell_name(peer.peer_id, vector): bell.number for vector, bell in enumerate(peer.vectors)}
        if peer.listener is not None:
            listener = peer.listener
            name = f"listener.{peer.peer_id}.{os.fstat(listener.fileno()).st_ino}"
            record["listener"] = {"path": str(listener.path), "inode": listener.inode, "file": name}
            files[name] = listener.fileno()
        if peer.ledger is not None:
            files[f"sent.{peer.peer_id}"] = peer.ledger.descriptor
        if peer.connection is not None:
            outbox = peer.connection.outbox
            waiting = [[message.data.hex(), descriptor_label(message, known)] for message in outbox.waiting]
            record["client"] = {"sent": outbox.sent, "waiting": waiting}
            files[client_name(peer.peer_id, peer.generation)] = peer.connection.stream.fileno()
        records.append(record)
    return records, files


def revive(record: PeerRecord, files: Mapping[str, int]) -> Peer:
    """The peer of a record, nobody connected; takes its doorbells and its ledger."""
    number = record["id"]
    bells = [SharedDescriptor(files[bell_name(number, vector)]) for vector in range(record["vectors"])]
    peer = Peer(number, bells, fixed=True, local=record["local"], generation=record["generation"])
    peer.present = record["local"] and record["present"]
    if f"sent.{number}" in files:
        peer.ledger = SentLedger(files[f"sent.{number}"])
    return peer


def still_to_send(record: PeerRecord, sent: int, peers: Mapping[int, Peer], memory: SharedDescriptor) -> list[Outgoing]:
    """What a client has not been told, given that it got ``sent`` messages."""
    waiting = record["client"]["waiting"][sent - record["client"]["sent"] :]
    return [
        Outgoing(bytes.fromhex(data), None if label is None else descriptor(data, label, peers, memory))
        for data, label in waiting
    ]


def descriptor_label(message: Outgoing, peers: Mapping[int, Peer]) -> int | None:
    """Which descriptor goes with a message: the vector of the peer that it is about, -1 for the memory."""
    if message.descriptor is None:
        return None
    value = decode(message.data)
    if value == SHARED_MEMORY:
        return SHARED_MEMORY
    return next(vector for vector, bell in enumerate(peers[value].vectors) if bell is message.descriptor)


def descriptor(data: str, label: int, peers: Mapping[int, Peer], memory: SharedDescriptor) -> SharedDescriptor:
    """The inverse of ``descriptor_label``."""
    if label == SHARED_MEMORY:
        return memory
    return peers[decode(bytes.fromhex(data))].vectors[label]


def bell_name(peer_id: int, vector: int) -> str:
    return f"bell.{peer_id}.{vector}"


def client_name(peer_id: int, generation: int) -> str:
    return f"client.{peer_id}.{generation}"
