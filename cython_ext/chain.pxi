# SPDX-License-Identifier: MIT

@cython.final
@cython.freelist(64)
cdef class Chain:
    """One buffer the driver made available. Only DeviceQueue.pop makes them."""

    def __init__(self):
        raise TypeError("chains come from DeviceQueue.pop")

    def __dealloc__(self):
        free(self.record.segments)

    @property
    def head(self):
        return self.record.head

    @property
    def sequence(self):
        return self.record.sequence

    @property
    def again(self):
        return bool(self.record.again)

    @property
    def readable_length(self):
        return self.record.readable_length

    @property
    def writable_length(self):
        return self.record.writable_length

    @property
    def table(self):
        return (self.record.table, self.record.table_length) if self.record.table_length else None

    @property
    def readable(self):
        return segments_list(self.record.segments, self.record.readable)

    @property
    def writable(self):
        return segments_list(self.record.segments + self.record.readable, self.record.writable)

    def read(self, uint64_t offset, uint64_t length):
        cdef uint64_t available = 0
        cdef bytes data
        chain_check_held(self)
        if offset < self.record.readable_length:
            available = min(length, self.record.readable_length - offset)
        data = PyBytes_FromStringAndSize(NULL, available)
        segments_gather(self.queue.window.base, self.record.segments, self.record.readable, offset,
                        <uint8_t *>PyBytes_AS_STRING(data), available)
        return data

    def write(self, uint64_t offset, data):
        cdef Py_buffer source
        chain_check_held(self)
        PyObject_GetBuffer(data, &source, PyBUF_SIMPLE)
        try:
            return segments_scatter(self.queue.window.base, self.record.segments + self.record.readable,
                                    self.record.writable, offset, <const uint8_t *>source.buf, source.len)
        finally:
            PyBuffer_Release(&source)

    def readable_views(self, uint64_t offset=0, length=None):
        chain_check_held(self)
        return segments_views(self.queue.window, self.record.segments, self.record.readable, offset,
                              self.record.readable_length if length is None else length, True)

    def writable_views(self, uint64_t offset=0, length=None):
        chain_check_held(self)
        return segments_views(self.queue.window, self.record.segments + self.record.readable, self.record.writable,
                              offset, self.record.writable_length if length is None else length, False)


cdef int chain_check_held(Chain chain) except -1:
    """A chain's memory belongs to the driver again once it was pushed."""
    if chain.returned:
        raise ValueError(f"the chain at head {chain.record.head} was already pushed and belongs to the driver")
    return chain.queue.window.check_open()


cdef Chain chain_from(DeviceQueue queue, const chain_record *record):
    """A Chain of its own from the queue's scratch record."""
    cdef Chain chain = Chain.__new__(Chain)
    cdef size_t room = (record.readable + record.writable) * sizeof(segment)
    chain.record = record[0]
    chain.record.segments = <segment *>malloc(room or 1)
    if chain.record.segments is NULL:
        raise MemoryError
    memcpy(chain.record.segments, record.segments, room)
    chain.queue = queue
    return chain
