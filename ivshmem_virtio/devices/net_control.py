# SPDX-License-Identifier: MIT
"""The control queue of a network device (virtio 1.4, 5.1.6.5): how many queue pairs are in use, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable

from ivshmem_virtio.core import Chain
from ivshmem_virtio.transport.queue import Queue

OK = 0
ERR = 1
CLASS_MQ = 4
MQ_VQ_PAIRS_SET = 0
COMMAND = struct.Struct("<BBH")
"""Class, command, and the number of pairs that goes with the one command there is."""


def serve(queue: Queue, set_pairs: Callable[[int], bool]) -> None:
    """Carry out what is there. ``set_pairs`` says whether the device may use so many."""
    for chain in queue.chains():
        # A command that cannot be answered is not carried out either: its driver could not tell.
        obeyed = chain.writable_length > 0 and _obey(chain, set_pairs)
        queue.push(chain, answer(chain, OK if obeyed else ERR))


def answer(chain: Chain, ack: int) -> int:
    """Bytes written: the answer is the first one that may be."""
    return chain.write(0, bytes([ack]))


def _obey(chain: Chain, set_pairs: Callable[[int], bool]) -> bool:
    command = chain.read(0, COMMAND.size)
    if len(command) != COMMAND.size or chain.readable_length != COMMAND.size:
        return False
    kind, number, pairs = COMMAND.unpack(command)
    return kind == CLASS_MQ and number == MQ_VQ_PAIRS_SET and set_pairs(pairs)
