# SPDX-License-Identifier: MIT
"""What other compiled modules may use of the core: the rings as plain C, without Python objects and without the GIL."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_cond_t:
        pass


cdef extern from "shared_memory.h" nogil:
    uint8_t iv_load8(const void *address)
    uint16_t iv_load16(const void *address)
    uint32_t iv_load32(const void *address)
    uint64_t iv_load64(const void *address)
    void iv_store8(void *address, uint8_t value)
    void iv_store16(void *address, uint16_t value)
    void iv_store32(void *address, uint32_t value)
    void iv_store64(void *address, uint64_t value)
    bint iv_compare_exchange32(void *address, uint32_t expected, uint32_t desired)
    void iv_fence()

    struct iv_descriptor:
        uint64_t address
        uint32_t length
        uint16_t flags
        uint16_t next

    void iv_load_descriptor(const void *address, iv_descriptor *copy)
    void iv_load_words(uint64_t *copy, const void *address)
    void iv_prefetch(const void *address)
    void iv_store_descriptor(void *address, const iv_descriptor *copy)


# A stretch of the window, already checked to lie inside it.
cdef struct segment:
    uint64_t offset
    uint32_t length


# One buffer as the device sees it: device-readable segments first, then device-writable ones.
cdef struct chain_record:
    segment *segments           # the caller's room, one entry for each descriptor of the ring
    uint64_t readable_length    # bytes
    uint64_t writable_length    # bytes
    uint64_t table              # window offset of its indirect table; length 0 = none
    uint64_t sequence           # order in which chains were taken
    uint32_t table_length
    uint32_t readable           # how many segments
    uint32_t writable
    uint16_t head               # packed: buffer id
    uint16_t descriptors        # of the ring, an indirect one included
    bint again                  # a process that died had taken it before


# The first broken rule a queue met; code 0 is none. Kept so that every later call can name it again.
cdef struct violation:
    int code
    uint64_t value
    uint64_t limit
    uint32_t size


# Where a ring lies and what was negotiated for it.
cdef struct ring_place:
    uint8_t *base               # of the window
    uint64_t length             # of the window
    uint64_t minimum            # buffers and rings start here or later
    uint8_t *desc
    uint8_t *driver
    uint8_t *device
    uint32_t size
    bint event_idx
    bint indirect


# Device side of a queue, in either layout.
cdef struct device_ring:
    bint packed                 # VIRTIO_F_RING_PACKED was negotiated
    ring_place place
    uint16_t last_avail         # next available entry to take; packed: all of these are slots, bit 15 the wrap counter
    uint16_t seen_avail         # available index as last read; entries before it are published
    uint16_t used               # next used entry to write
    uint16_t published          # used index as the driver sees it
    uint8_t *in_flight          # by head: whether the device holds that chain, NOT_HELD = no
    uint32_t in_flight_count
    uint16_t *batch             # heads pushed and not published
    uint32_t batch_count
    uint8_t *record             # outlives the process: the queue record and its in-flight records; NULL = none
    uint64_t next_sequence
    uint8_t *hint               # for the driver to read, by head: 1 while the device holds that chain; NULL = none
    uint8_t *owner              # word that says who may write the used ring; NULL = nobody else ever does
    uint32_t owner_word         # what stands there as long as it is this device
    uint16_t *redo              # heads a process that died has left in flight, oldest first
    uint32_t redo_count
    uint32_t redo_next
    uint32_t slots              # packed: in flight, those of chains pushed and not published included
    uint32_t batch_slots        # packed: pushed and not published
    uint16_t first_flags        # packed: of the first of these slots, for publish to store
    uint32_t asked              # packed: device event suppression as last written
    uint8_t *copies             # packed: descriptors of chains in flight, in the record; NULL = not kept
    uint16_t *copy_next         # packed: by copy, the next one, of its chain or of those that are free
    uint16_t *copy_first        # packed: by buffer id of a chain in flight, its first copy, and how many it has
    uint16_t *copy_count
    uint16_t copy_free
    uint16_t copy_next_free     # packed: while a chain is being copied
    PyObject *watched           # the DeviceQueue, where somebody wants to see each chain; NULL = nobody does
    violation broken
    uint64_t chains
    uint64_t bytes
    uint64_t wanted
    uint64_t suppressed


# Driver side of a queue, in either layout.
cdef struct driver_ring:
    bint packed                 # VIRTIO_F_RING_PACKED was negotiated
    ring_place place
    uint16_t avail              # next available entry to write
    uint16_t published          # available index as the device sees it
    uint16_t last_used          # next used entry to take
    uint16_t free_head
    uint32_t free
    uint16_t *next              # by descriptor: the next one, of its chain or of the free list
    uint16_t *taken             # by head: descriptors of the ring the chain holds, 0 = not a head
    uint8_t *visible            # by head: 1 once the device may complete it
    uint16_t *order             # by ring slot: head added there
    uint64_t *writable          # by head: bytes the device may write
    uint32_t added              # packed: chains not published, the first ones of `order`
    uint32_t added_slots        # packed: their slots
    uint16_t first_flags        # packed: of the first of these slots, for publish to store
    bint callbacks
    violation broken
    uint64_t chains
    uint64_t bytes
    uint64_t wanted
    uint64_t suppressed


# Device side. pop: 1 = a chain, 0 = none, -1 = `broken` says why. push needs no segments of the chain, so a copy of its
# record will do. publish: whether to notify the driver. enable and pending: how many chains wait, or -1.
cdef int device_ring_pop(device_ring *ring, chain_record *chain) noexcept nogil
cdef int device_ring_pending(device_ring *ring) noexcept nogil
cdef void device_ring_push(device_ring *ring, const chain_record *chain, uint32_t written) noexcept nogil
cdef bint device_ring_publish(device_ring *ring) noexcept nogil
cdef int device_ring_enable(device_ring *ring) noexcept nogil
cdef void device_ring_disable(device_ring *ring) noexcept nogil

# Driver side. add: a number below the size that names the chain until it comes back (split: its head, packed: its
# buffer id), or -1 = no room. get: 1 = a chain, 0 = none, -1 = `broken` says why. enable: whether chains came back already.
cdef int driver_ring_add(driver_ring *ring, const segment *segments, uint32_t readable,
                         uint32_t writable) noexcept nogil
cdef int driver_ring_add_indirect(driver_ring *ring, const segment *segments, uint32_t readable, uint32_t writable,
                                  uint64_t table) noexcept nogil
cdef bint driver_ring_publish(driver_ring *ring) noexcept nogil
cdef int driver_ring_get(driver_ring *ring, uint16_t *head, uint32_t *written) noexcept nogil
cdef bint driver_ring_enable(driver_ring *ring) noexcept nogil
cdef void driver_ring_disable(driver_ring *ring) noexcept nogil

# Copies between the segments and private memory, `skip` bytes from their start; the bytes copied, less when they end.
cdef uint64_t gather_parts(const uint8_t *base, const segment *segments, uint32_t count, uint64_t skip,
                           uint8_t *into, uint64_t length) noexcept nogil
cdef uint64_t scatter_parts(uint8_t *base, const segment *segments, uint32_t count, uint64_t skip,
                            const uint8_t *source, uint64_t length) noexcept nogil


# Most copies lie in one segment. They cost what memcpy does, in other extensions as well: no call of ours is around it.
cdef inline uint64_t segments_gather(const uint8_t *base, const segment *segments, uint32_t count, uint64_t skip,
                                     uint8_t *into, uint64_t length) noexcept nogil:
    if count and skip < segments[0].length and length <= segments[0].length - skip:
        memcpy(into, base + segments[0].offset + skip, length)
        return length
    return gather_parts(base, segments, count, skip, into, length)


cdef inline uint64_t segments_scatter(uint8_t *base, const segment *segments, uint32_t count, uint64_t skip,
                                      const uint8_t *source, uint64_t length) noexcept nogil:
    if count and skip < segments[0].length and length <= segments[0].length - skip:
        memcpy(base + segments[0].offset + skip, source, length)
        return length
    return scatter_parts(base, segments, count, skip, source, length)


cdef class Window:
    cdef uint8_t *base
    cdef readonly uint64_t length
    cdef readonly bint writable
    cdef Py_ssize_t exports     # views that are out, and compiled users that hold pointers

    cdef int check_open(self) except -1
    cdef uint8_t *at(self, uint64_t offset, uint64_t length) except NULL
    cdef uint8_t *word(self, uint64_t offset, uint64_t width) except NULL
    cdef uint8_t *writable_word(self, uint64_t offset, uint64_t width) except NULL
    cdef object view_of(self, uint64_t offset, uint64_t length, bint readonly)


cdef class DeviceQueue:
    cdef device_ring ring
    cdef chain_record scratch
    cdef readonly Window window
    cdef Window record          # keeps ring.record mapped
    cdef readonly bint resumed
    cdef object watcher


cdef class DriverQueue:
    cdef driver_ring ring
    cdef segment *scratch
    cdef list tokens
    cdef readonly Window window


cdef class Chain:
    cdef chain_record record
    cdef DeviceQueue queue
    cdef bint returned


# How a driver is interrupted for one queue.
cdef struct bell:
    uint8_t *event              # event byte of the queue; NULL = none
    uint8_t *any_event          # event byte of all queues together, for drivers of revision 1
    int fd                      # eventfd of the driver's vector; -1 = none now
    uint64_t rung


cdef void bell_ring(bell *rope) noexcept nogil


cdef class Bell:
    cdef bell rope
    cdef Window window          # keeps rope.event mapped


# What a worker calls, on its thread, for as long as the engine is attached. `context` goes to each function.
cdef struct plane_engine:
    int (*serve)(void *context) noexcept nogil      # bounded work; how much was done, 0 = none, -1 = cannot go on
    int (*arm)(void *context) noexcept nogil        # ask for kicks; > 0 = there is work already, -1; NULL = nothing to ask
    void (*disarm)(void *context) noexcept nogil    # no kicks, please; NULL = nobody to tell
    void (*finish)(void *context) noexcept nogil    # detached: wait for what is under way; on any thread; NULL = nothing is
    void *context
    PyObject *owner             # the Engine, which lives as long as it is attached
    bint stopped                # it cannot go on, and was reported
    uint64_t rounds             # that found work
    uint64_t kicks              # doorbells that woke the worker for it


cdef class Engine:
    cdef plane_engine work
    cdef Window window          # stays mapped while the engine is attached; None = uses none
    cdef readonly PlaneWorker worker
    cdef object on_stopped      # called on the worker's thread when the engine cannot go on
    cdef public object failure  # the exception that ended it, where it was no broken ring


cdef struct plane_watch:
    plane_engine *engine
    int fd
    bint rung                   # since the last round
    bint deaf                   # rung too often for nothing
    int64_t price               # of a doorbell that brought nothing, nanoseconds; 0 = no doorbell
    uint64_t rounds             # of the engine when a doorbell was last settled
    int64_t due                 # when the rate has caught up, as iv_now


cdef struct polling:
    int64_t longest             # nanoseconds; 0 = never poll, below 0 = always
    int64_t current


cdef struct plane_worker:
    pthread_mutex_t lock
    pthread_cond_t changed
    uint32_t wanted             # how many threads want the worker outside its engines
    bint held                   # by one of them
    bint inside
    bint stop
    uint32_t sleeping           # blocked, or about to be
    int epoll
    int control                 # eventfd that wakes it for something else than work
    plane_engine **engines
    uint32_t count
    plane_watch **watches
    uint32_t watch_count
    uint64_t changes            # how often watches were dropped
    uint32_t deaf               # how many watches are
    bint rung                   # some watch was
    polling spin
    uint64_t sleeps
    uint64_t spun               # work that was met without sleeping
    uint64_t storms


cdef class PlaneWorker:
    cdef plane_worker worker
    cdef readonly str name
    cdef tuple cpus
    cdef object thread
    cdef list engines

    cdef int hold(self) except -1
    cdef void let_go(self) noexcept
