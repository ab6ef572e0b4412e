# SPDX-License-Identifier: MIT

@cython.final
@cython.internal
@cython.freelist(64)
cdef class WindowView:
    """Exporter behind every memoryview of a window: as long as one lives, the window stays mapped."""

    cdef uint8_t *address
    cdef Py_ssize_t length
    cdef bint readonly
    cdef Window window

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.address, self.length, self.readonly, flags)
        self.window.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.window.exports -= 1
