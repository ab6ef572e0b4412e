# SPDX-License-Identifier: MIT
"""Compiled core: a window of shared memory and both sides of a virtqueue inside it, split or packed.

Offsets and lengths are bytes; every offset counts from the start of the window. The other side of a window is never
trusted: each value it can change is read once, checked, then used. Nothing waits or releases the GIL but the methods of
PlaneWorker.

A negative number, or one too large for its field, raises OverflowError. Using anything on a closed window raises
ValueError.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, final

from _typeshed import ReadableBuffer

T = TypeVar("T")

class Window:
    """A shared mapping of part of a file. It keeps no file descriptor.

    Raises:
        ValueError: the length is not positive or the offset is negative.
        OutsideWindow: the part does not lie inside a regular file.
        OSError: the system refused the mapping; an offset that is no multiple of the page size is EINVAL.
    """

    def __init__(self, fd: int, offset: int, length: int, *, writable: bool = True) -> None: ...
    @property
    def length(self) -> int:
        """Bytes."""
    @property
    def writable(self) -> bool:
        """False for a read-only mapping: everything that stores raises TypeError."""

    # One atomic acquire load. OutsideWindow when not inside, ValueError when not naturally aligned.
    def load8(self, offset: int) -> int: ...
    def load16(self, offset: int) -> int: ...
    def load32(self, offset: int) -> int: ...
    def load64(self, offset: int) -> int: ...

    # One atomic release store. OutsideWindow when not inside, ValueError when not naturally aligned.
    def store8(self, offset: int, value: int) -> None: ...
    def store16(self, offset: int, value: int) -> None: ...
    def store32(self, offset: int, value: int) -> None: ...
    def store64(self, offset: int, value: int) -> None: ...
    def compare_exchange32(self, offset: int, expected: int, desired: int) -> bool:
        """Store `desired` if the word holds `expected`; whether it did. Sequentially consistent."""

    def fence(self) -> None:
        """Full memory barrier: stores before it are visible before loads after it are done."""

    def read(self, offset: int, length: int) -> bytes:
        """A private copy. OutsideWindow when not inside."""

    def write(self, offset: int, data: ReadableBuffer) -> None:
        """Copy `data` in. OutsideWindow when it does not fit, and then nothing is written."""

    def zero(self, offset: int, length: int) -> None:
        """Fill with zero bytes. OutsideWindow when not inside."""

    def view(self, offset: int, length: int) -> memoryview:
        """The memory itself, for os.preadv and os.pwritev. The window stays mapped while the view is in use."""

    def close(self) -> None:
        """Unmap; a second call does nothing. BufferError while views are in use."""

@final
class Chain:
    """One buffer that the driver made available: readable segments, then writable ones, all checked.

    After DeviceQueue.push the memory belongs to the driver again: reading, writing and new views raise ValueError.
    """

    @property
    def head(self) -> int:
        """Descriptor index, or buffer id of a packed ring, that names the chain when it is given back."""
    @property
    def sequence(self) -> int:
        """Order in which chains of the queue were taken, from 1; counts on where a queue keeps a record."""
    @property
    def again(self) -> bool:
        """Whether a process that was killed had taken it before, and may have served it."""
    @property
    def readable_length(self) -> int:
        """Bytes in all readable segments."""
    @property
    def writable_length(self) -> int:
        """Bytes in all writable segments."""
    @property
    def table(self) -> tuple[int, int] | None:
        """(offset, length) of the indirect table it came with."""
    @property
    def readable(self) -> list[tuple[int, int]]:
        """(offset, length) of each segment the device may read. Descriptors of length 0 leave no segment."""
    @property
    def writable(self) -> list[tuple[int, int]]:
        """(offset, length) of each segment the device may write."""

    def read(self, offset: int, length: int) -> bytes:
        """Copy from the concatenation of the readable segments; shorter at its end, empty past it."""

    def write(self, offset: int, data: ReadableBuffer) -> int:
        """Copy into the concatenation of the writable segments; the bytes that fitted."""

    def readable_views(self, offset: int = 0, length: int | None = None) -> list[memoryview]:
        """Read-only views of the readable segments, `offset` bytes from their start, for os.pwritev."""

    def writable_views(self, offset: int = 0, length: int | None = None) -> list[memoryview]:
        """Views of the writable segments, `offset` bytes from their start, for os.preadv."""

@final
class DeviceQueue:
    """Device side of a virtqueue: split (virtio 1.4, 2.7), or packed (2.8) where VIRTIO_F_RING_PACKED was negotiated.

    `desc`, `driver` and `device` are the window offsets that the driver chose for descriptor table, available ring and
    used ring; of a packed queue, for descriptor ring, driver and device event suppression. Rings, buffers and indirect
    tables must lie at `minimum` or above. `index` is where both sides start, None for a new queue: an index, or a slot
    of a packed ring with the wrap counter in bit 15. Nothing is written to the window before the first push, enable or
    disable.

    `record` at `record_offset` is memory that outlives the process: a queue record and an in-flight record for each
    descriptor (docs/protocol.md, 9). With `resume` the queue goes on where the one before left it: what that held comes
    out of `pop` once more, oldest first and checked again, and `index` does not count. Without, the record begins anew.
    With `answered` as well, a used index that moved on tells that the driver's stand-in has answered everything. Of a
    packed queue `answered_at` is the position up to which it has; None = it has not. A packed queue also keeps copies
    of descriptors there, behind as many in-flight records as the record says that the largest ring has.

    `owner` is where the window says who may write the used ring, `owner_word` what stands there while that is this
    queue (docs/protocol.md, 6). Where it changes, nothing is written to the ring any more and the queue is broken
    (RingTaken). At `hint` the window has a byte for each head, 1 while the queue holds that chain. 0 is neither.

    Raises:
        UsedIndexChanged: on resume, the used index is not what the record says.
        UsedPositionChanged: on resume, the packed ring is not as the record says.
        KeptChainDamaged: on resume, the record of a packed chain contradicts itself.
        RingSizeInvalid: `size` is not from 1 to 32768, or of a split queue not a power of two.
        RingAddressInvalid: a part is misaligned, not inside the window, or below `minimum`.
    """

    def __init__(
        self,
        window: Window,
        size: int,
        desc: int,
        driver: int,
        device: int,
        *,
        event_idx: bool,
        indirect: bool,
        packed: bool = False,
        index: int | None = None,
        minimum: int = 0,
        record: Window | None = None,
        record_offset: int = 0,
        resume: bool = False,
        answered: bool = False,
        answered_at: int | None = None,
        owner: int = 0,
        owner_word: int = 0,
        hint: int = 0,
    ) -> None: ...
    @property
    def window(self) -> Window: ...
    @property
    def packed(self) -> bool:
        """Whether the ring is packed."""
    @property
    def size(self) -> int:
        """Descriptors in the ring."""
    @property
    def desc(self) -> int:
        """Window offset of the descriptor table or ring."""
    @property
    def driver(self) -> int:
        """Window offset of the available ring, or driver event suppression."""
    @property
    def device(self) -> int:
        """Window offset of the used ring, or device event suppression."""
    @property
    def resumed(self) -> bool:
        """Whether it goes on for the driver of a process that was killed."""
    @property
    def in_flight(self) -> int:
        """Chains popped and not pushed."""
    @property
    def index(self) -> int:
        """Used index, or position of a packed ring, 16 bits: where the next pushed chain goes, published or not."""
    @property
    def broken(self) -> bool:
        """Whether the driver broke a rule: pop, pending and enable_notifications then raise the same violation."""
    @property
    def chains(self) -> int:
        """Chains popped so far."""
    @property
    def bytes(self) -> int:
        """Readable bytes of all chains popped and bytes written to all chains pushed."""
    @property
    def notifications_wanted(self) -> int:
        """How often publish found that the driver wants a notification."""
    @property
    def notifications_suppressed(self) -> int:
        """How often publish found that it does not."""

    def pop(self) -> Chain | None:
        """The next available chain, or None. Raises the RingViolation subclass of the rule the driver broke."""

    def push(self, chain: Chain, written: int) -> None:
        """Give a chain back with `written` bytes in its writable part; invisible until publish. Any order is fine.

        Raises ValueError for a chain of another queue, one pushed before, or more bytes than it has room for.
        """

    def watch(self, watcher: Callable[[Chain], None]) -> None:
        """Have each chain shown to `watcher` as it is taken, by whatever code takes it, on that one's thread."""

    def publish(self) -> bool:
        """Make pushed chains visible. True: the driver wants a notification (virtio 1.4, 2.7.7.2)."""

    def enable_notifications(self) -> bool:
        """Ask the driver to notify of the next chain. True: chains are waiting already, so take them first."""

    def disable_notifications(self) -> None:
        """Tell the driver that notifications are not needed (virtio 1.4, 2.7.10)."""

    def pending(self) -> int:
        """Chains available and not popped; of those in a packed ring only the first one counts. Raises
        AvailableIndexJump and RingOverrun like pop.
        """

@final
class DriverQueue:
    """Driver side of a virtqueue: split (virtio 1.4, 2.7), or packed (2.8) where VIRTIO_F_RING_PACKED was negotiated.

    Making one zeroes all three parts of the ring. `index` is where both sides start; a device expects None.
    Callbacks are on at first. Raises RingSizeInvalid and RingAddressInvalid.
    """

    def __init__(
        self,
        window: Window,
        size: int,
        desc: int,
        driver: int,
        device: int,
        *,
        event_idx: bool,
        indirect: bool,
        packed: bool = False,
        index: int | None = None,
    ) -> None: ...
    @property
    def window(self) -> Window: ...
    @property
    def packed(self) -> bool:
        """Whether the ring is packed."""
    @property
    def size(self) -> int:
        """Descriptors in the ring."""
    @property
    def free(self) -> int:
        """Descriptors not in use."""
    @property
    def broken(self) -> bool:
        """Whether the device broke a rule: add and get then raise the same violation."""
    @property
    def chains(self) -> int:
        """Chains taken back so far."""
    @property
    def bytes(self) -> int:
        """Bytes the device wrote, over all chains taken back."""
    @property
    def notifications_wanted(self) -> int:
        """How often publish found that the device wants a notification."""
    @property
    def notifications_suppressed(self) -> int:
        """How often publish found that it does not."""

    def add(
        self,
        readable: Sequence[tuple[int, int]],
        writable: Sequence[tuple[int, int]],
        token: object,
        table: int | None = None,
    ) -> None:
        """Add a chain of (offset, length) segments; invisible until publish. `get` returns `token` with it.

        With `table`, 16 bytes for each segment from that window offset on become an indirect table, which takes one
        descriptor of the ring; the memory belongs to the chain until it comes back.

        Raises RingFull without enough free descriptors, OutsideWindow for a segment or table not inside the window, and
        ValueError for an empty chain or segment, more segments than the queue size, more than 2^32 bytes, or a table
        without VIRTIO_F_INDIRECT_DESC. Raises the violation of a broken queue.
        """

    def publish(self) -> bool:
        """Make added chains visible. True: the device wants a notification (virtio 1.4, 2.7.13.4 and 2.8.21.2)."""

    def get(self) -> tuple[object, int] | None:
        """Token and bytes written of the next chain that came back, or None.

        Raises the RingViolation subclass of the rule the device broke: an id that heads no chain it holds, a length
        above the chain's writable bytes, an index that runs ahead.
        """

    def enable_callbacks(self) -> bool:
        """Ask for a notification of the next used chain. True: chains came back already, so take them first."""

    def disable_callbacks(self) -> None:
        """Tell the device that notifications are not needed (virtio 1.4, 2.7.7)."""

@final
class NetCounters:
    """What became of the frames of one network device; transmit and receive as the guest sees them."""

    transmitted_frames: int
    transmitted_bytes: int
    transmit_malformed: int
    transmit_link_down: int
    transmit_refused: int
    received_frames: int
    received_bytes: int
    receive_malformed: int
    receive_too_long: int
    receive_inactive: int
    receive_no_buffer: int
    receive_waits: int
    connection_losses: int

    def as_dict(self) -> dict[str, int]:
        """For the inspector."""

@final
class NetPort:
    """A network device (virtio 1.4, 5.1) for compiled code: its rings, what its driver accepted, its counters.

    It outlives drivers. While attached it keeps the windows of its rings mapped. Not for two threads at once.
    """

    link_up: bool
    """Whether frames of the guest go anywhere."""
    waiting: bool
    """Whether a frame without a receive buffer waits for one, so that the driver is asked for a kick; or is dropped."""

    @property
    def counters(self) -> NetCounters: ...
    @property
    def stopped(self) -> bool:
        """Whether the driver broke a rule of a ring: none is touched again before the next `attach`."""

    def attach(
        self,
        receive: DeviceQueue | None,
        notify_receive: Callable[[], None] | None,
        transmit: DeviceQueue | None,
        notify_transmit: Callable[[], None] | None,
        *,
        features: int,
        mergeable: bool,
        longest: int,
        held: bool = False,
    ) -> None:
        """A driver is at work, and accepted these device feature bits; each queue comes with what rings its driver.
        ``held``: nothing is delivered before `begin`, or before a worker serves the receive queue.

        `mergeable`: a frame may fill several receive buffers. `longest`: bytes of a frame it is given at most, unless
        that is to be segmented. Receive buffers set aside before are still known when the queue is the same one.
        """

    def begin(self) -> None:
        """Deliver from now on."""

    def detach(self) -> None:
        """No driver is at work: rings are not touched any more."""

    def forget_buffers(self) -> None:
        """Receive buffers set aside are not known any more."""

    def stop(self) -> None:
        """Touch no ring again, as after a rule was broken."""

    def check(self) -> None:
        """Raise the RingViolation subclass of the rule that made it stop; nothing otherwise."""

    def deliver(self, header: bytes, frame: ReadableBuffer) -> bool:
        """Put a frame behind a packet header of 12 bytes into receive buffers (virtio 1.4, 5.1.6.4).

        True: done with, delivered or dropped. False: there are not enough buffers for it now.
        """

    def flush(self) -> None:
        """Publish what was pushed, and notify the driver if it wants to know."""

@final
class NetReceiveEngine(Engine):
    """Has a worker begin and end with the receive queue that `port` is attached to; frames come from other engines."""

    def __init__(self, port: NetPort, bell: Bell) -> None: ...

@final
class SwitchEngine(Engine):
    """Passes on what comes out of the transmit queue that `port` is attached to. All ports of a plane are served by the
    same worker, and whatever else is done with the plane or a port happens while that stands aside."""

    def __init__(self, plane: SwitchPlane, port: NetPort, bell: Bell) -> None: ...

@final
class NetLine:
    """The way out of one network device through a descriptor of the host: `framed` (a stream socket, in which each
    frame comes after its length in four big-endian bytes) or not (a tap interface with packet headers of 12 bytes). The
    descriptor is the caller's, and non-blocking. Not for two threads at once: aside of the worker that serves it.
    """

    on_lost: Callable[[], None] | None
    """Called once on the worker's thread when nothing comes of the descriptor any more."""

    def __init__(self, port: NetPort, *, framed: bool) -> None: ...
    @property
    def holds(self) -> bool:
        """Whether a frame waits for receive buffers; nothing is read meanwhile."""
    @property
    def blocked(self) -> bool:
        """Whether the host took no more when it was last tried; chains wait meanwhile."""
    @property
    def lost(self) -> bool:
        """Whether the host's side is gone."""
    @property
    def failure(self) -> int:
        """Why: an error number, 0 = end of file, -1 = the peer announced a frame of `announced` bytes: too many."""
    @property
    def announced(self) -> int: ...
    def open(self, fd: int) -> None:
        """Go on with this descriptor; what was read of another one and not delivered is forgotten."""

    def close(self) -> None:
        """Go on without one: what is sent comes back, counted as sent while the link was down."""

    def forget_held(self) -> None:
        """Of a tap: a frame that waits for receive buffers, and others that were read with it, are not delivered."""

    def settle(self) -> None:
        """The port may have another transmit queue than before: chains taken from that are not known any more."""

    def receive(self) -> bool:
        """Read some frames; whether more may wait without the descriptor being readable."""

    def transmit(self) -> bool:
        """Send some frames; whether more wait. Raises what a broken ring raises."""

@final
class LineReceiveEngine(Engine):
    """Brings frames of the host to the receive queue that the port of `line` is attached to. Both engines of a line are
    served by the same worker."""

    def __init__(self, line: NetLine, bell: Bell) -> None: ...

@final
class LineTransmitEngine(Engine):
    """Brings frames of the transmit queue that the port of `line` is attached to to the host."""

    def __init__(self, line: NetLine, bell: Bell) -> None: ...

@final
class SwitchPlane:
    """Forwards Ethernet frames between ports: one copy, from the sender's window to the receiver's.

    `ageing`: seconds after which an address nobody used is forgotten. `most_addresses`: learned for each port.
    """

    def __init__(self, ageing: float, most_addresses: int) -> None: ...
    @property
    def flooded(self) -> int:
        """Frames that went to all ports."""

    def join(self, port: NetPort, address: bytes) -> None:
        """One port more; its device has this address, which is never learned elsewhere."""

    def leave(self, port: NetPort) -> None:
        """The port is gone, with all that was learned there. Raises ValueError for one that had not joined."""

    def port_of(self, address: bytes, now: float) -> NetPort | None:
        """Where an address is known to be, `now` seconds on the clock that `forward` is called with."""

    def forward(self, source: NetPort, now: float) -> bool:
        """Pass on frames of one port, as many as a turn allows, and notify drivers; whether more are waiting.

        Raises the RingViolation subclass of the rule the driver of this port broke in its transmit queue.
        """

def plain_frames(
    frame: bytes, flags: int, gso_type: int, hdr_len: int, gso_size: int, csum_start: int, csum_offset: int
) -> list[bytes]:
    """What a receiver without offloads gets for a frame with this packet header: its checksum completed, or cut into
    segments; none where frame and header contradict each other."""

@final
class Bell:
    """How an engine interrupts the driver of one queue: event bytes at `event` and `any_event`, then an eventfd.

    Without a window there are no event bytes, and before `hang` no eventfd. Not while an engine that uses it may ring.
    """

    def __init__(self, window: Window | None = None, event: int = 0, any_event: int = 0) -> None: ...
    def hang(self, fd: int) -> None:
        """Ring this eventfd from now on, which is duplicated; -1, or one that is not open, is none."""

    @property
    def rung(self) -> int:
        """Interrupts so far."""

class Engine:
    """Serves something in compiled code, on the thread of the worker it is attached to. Subclasses are compiled."""

    failure: BaseException | None
    """What ended it, where that was no broken ring."""

    @property
    def worker(self) -> PlaneWorker | None:
        """Whom it is attached to."""
    @property
    def watched(self) -> Sequence[int]:
        """Descriptors that become readable when it has something to do, beside the doorbells."""
    @property
    def kicks(self) -> int:
        """Doorbells that woke a worker for it."""
    @property
    def rounds(self) -> int:
        """Batches that a worker has had of it."""
    @property
    def counters(self) -> dict[str, int]:
        """What it counts besides."""

    def serve(self) -> int:
        """One batch on the calling thread; how much was done. Raises what `check` raises, and RuntimeError while it is
        attached.
        """

    def settle(self) -> None:
        """Returns when nothing of it is under way. Only while it has no worker, or that one is aside."""

    def check(self) -> None:
        """Raise why it cannot go on, if so: a RingViolation, or what was raised in code it called."""

@final
class Uring:
    """An io_uring for reads, writes, flushes and fallocate, of which it takes `entries` at a time; other operations are
    forbidden to it for good. Raises OSError where there is none: ENOSYS also where the core was built without liburing.
    """

    def __init__(self, entries: int) -> None: ...
    @property
    def entries(self) -> int: ...
    @property
    def idle(self) -> bool:
        """Whether nothing is left in it that was never submitted."""
    def fileno(self) -> int:
        """Readable while something is done."""

@final
class BlkEngine(Engine):
    """Requests of one virtio-blk queue (virtio 1.4, 5.2.6), between the file `fd` and the window.

    Well-formed reads, writes and flushes are carried out here. Every other chain goes to `server`, with 0, and so does
    one whose transfer or flush the host refused, with the error number; it answers in the chain and returns the bytes
    written. `fd` -1 is a null device: reads, writes and flushes succeed at once and touch no data. `capacity` is bytes.
    `direct`: `fd` is open with O_DIRECT, and transfers not aligned for that go to `server` as well.

    `uring`, which nobody else may use until the engine has settled, takes what would have to wait (reads that miss the
    page cache, flushes, large or stable writes, everything with `direct`), so that other requests come back meanwhile.
    """

    def __init__(
        self,
        queue: DeviceQueue,
        bell: Bell,
        server: Callable[[Chain, int], int],
        *,
        fd: int,
        capacity: int,
        read_only: bool,
        direct: bool = False,
        uring: Uring | None = None,
    ) -> None: ...
    def set_capacity(self, capacity: int) -> None:
        """Bytes; at any time."""

    def set_writethrough(self, writethrough: bool) -> None:
        """Whether each write is stable before it is reported done; at any time, for writes that begin afterwards."""

class PlaneWorker:
    """A thread that serves engines in compiled code: as long as one finds work, without a pause; then it looks for more
    for a while, which adapts to how soon work comes, up to `longest_spin` nanoseconds (0 = not at all, below 0 = for
    ever); then it asks for kicks and sleeps. It looks at everything once a second, as doorbells may be lost.

    `cpus`: the processors it may run on; none = all. Methods may be called on any thread but its own.
    """

    def __init__(self, name: str, *, longest_spin: int = ..., cpus: Iterable[int] = ()) -> None: ...
    @property
    def name(self) -> str: ...
    def start(self) -> None:
        """Start the thread; raises OSError where it may not run on `cpus`."""

    def stop(self) -> None:
        """End the thread and wait for it; raises RuntimeError while engines are attached."""

    def attach(
        self,
        engine: Engine,
        *,
        doorbells: Iterable[int] = (),
        doorbell_rate: int = ...,
        watched: Iterable[int] = (),
        on_stopped: Callable[[], None] | None = None,
    ) -> None:
        """Serve it from now on, and whenever one of these descriptors becomes readable; they are duplicated, and nobody
        has to read them. More than `doorbell_rate` doorbells a second that bring nothing are met late. `on_stopped`
        is called on the worker's thread when the engine cannot go on. Raises OSError for what cannot be waited for.
        """

    def detach(self, engine: Engine) -> None:
        """Returns when the engine is done with its rings and buffers for good."""

    def aside(self, function: Callable[[], T]) -> T:
        """Call it while the worker is in none of its engines."""

    def wake(self) -> None:
        """There may be work that no descriptor tells of."""

    @property
    def counters(self) -> dict[str, int]:
        """sleeps; spins: work met without sleeping; storms: doorbells that came too often; spin_ns: how long it looks
        before it sleeps, nanoseconds.
        """
