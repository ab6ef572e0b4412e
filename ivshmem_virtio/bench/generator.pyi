# SPDX-License-Identifier: MIT
"""Load for the benchmarks, compiled. It drives a device from the driver's side and knows nothing of who serves it.

Offsets and lengths are bytes. Everything runs without the GIL on the thread that calls, for the seconds it is given; a
device that returns nothing for 5 s is given up, and what it holds counts as errors.
"""

from typing import final

from ivshmem_virtio.bench.outcome import Outcome
from ivshmem_virtio.core import Bell, DeviceQueue, DriverQueue, Engine, Window

@final
class BlkLoad:
    """Keeps ``depth`` block requests of ``size`` bytes in flight on one queue (virtio 1.4, 5.2.6).

    ``kick`` and ``call`` are the queue's eventfds, both non-blocking. Requests lie in ``room`` bytes of the window from
    ``base`` on, and go to the first ``span`` bytes of the disk. With ``check`` each read has to begin with the number
    of its first sector, 8 bytes little endian.

    Raises ValueError where depth or size do not fit the queue, the room or the disk, OutsideWindow for a room that is
    not in the window.
    """

    def __init__(
        self,
        queue: DriverQueue,
        kick: int,
        call: int,
        *,
        base: int,
        room: int,
        depth: int,
        size: int,
        span: int,
        write: bool = False,
        sequential: bool = False,
        check: bool = False,
    ) -> None: ...
    def run(self, seconds: float, *, polled: bool) -> Outcome:
        """Load the queue, and leave it empty. ``polled``: look at the used ring without pause, instead of sleeping on
        ``call`` whenever nothing has come back. Latencies are taken at depth 1 only."""

@final
class FrameLoad:
    """Sends frames on one network port's transmit queue and receives them on another's receive queue; both are its own
    from then on.

    Each queue's buffers lie from its base on, 2048 bytes for each descriptor; ``addresses`` are destination and source.
    At most ``burst`` frames go each way between two looks at whether the device wants to be kicked.

    Raises ValueError for addresses of another length than 12, OutsideWindow for a base without that room.
    """

    def __init__(
        self,
        out: DriverQueue,
        out_kick: int,
        out_base: int,
        into: DriverQueue,
        into_kick: int,
        into_base: int,
        *,
        addresses: bytes,
        burst: int = 32,
    ) -> None: ...
    def run(self, frame: int, seconds: float) -> tuple[Outcome, int]:
        """Send frames of so many bytes as fast as the device takes them; what was received, and how many were sent.

        A frame of another length than was sent counts as an error. Buffers to receive into stay with the device.
        """

@final
class OneWayLoad:
    """Sends frames of ``frame`` bytes on one transmit queue, or receives such frames on one receive queue, which is its
    own from then on. Buffers lie from ``base`` on, 2048 bytes for each descriptor.

    Raises ValueError for a frame of less than 14 or more than 1518 bytes, OutsideWindow for a base without that room.
    """

    def __init__(
        self, queue: DriverQueue, kick: int, base: int, *, frame: int, receiving: bool, burst: int = 32
    ) -> None: ...
    def run(self, seconds: float) -> Outcome:
        """As fast as the device goes on; what came back counts, and stays with the device in the end.

        A buffer with another length than that of the frame (sending: than none) counts as an error.
        """

@final
class FrameEngine(Engine):
    """The device's side of one queue of a network device: takes frames out of the window, or, where it is a ``source``,
    puts frames of ``frame`` bytes into every buffer. Raises ValueError as OneWayLoad does."""

    def __init__(self, queue: DeviceQueue, bell: Bell, *, source: bool, frame: int) -> None: ...

@final
class CacheLine:
    """Two words in lines of their own, for two threads on two processors."""

    def answer(self, rounds: int) -> bool:
        """Send each of ``rounds`` changes back; False where they stopped coming."""

    def ask(self, rounds: int) -> float:
        """Nanoseconds of one round trip; raises ValueError where nobody answers."""

def copy_rate(window: Window, base: int, room: int, size: int, seconds: float, *, into: bool, plain: bool) -> float:
    """Bytes a second of copies of ``size`` bytes between private memory and all of ``room``, piece after piece.

    ``into`` the window or out of it; ``plain``: with memcpy alone, else as devices do it.
    """

def eventfd_answer(asked: int, answered: int, *, spinning: bool) -> None:
    """Write to one eventfd each time the other was written to. ``spinning``: ``asked`` is non-blocking and looked at
    without pause, until nothing came for 5 s; otherwise it is blocking, and this ends with the process."""

def eventfd_trips(ask: int, answer: int, seconds: float, *, spinning: bool) -> Outcome:
    """Round trips to an ``eventfd_answer`` in another process."""

def pread_loop(
    fd: int, window: Window, base: int, room: int, *, size: int, span: int, seconds: float, sequential: bool = False
) -> Outcome:
    """Reads of ``size`` bytes from the first ``span`` bytes of a file into a window, one after the other."""
