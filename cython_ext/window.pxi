# SPDX-License-Identifier: MIT

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void *address, size_t length)
    int PROT_READ
    int PROT_WRITE
    int MAP_SHARED
    void *MAP_FAILED


cdef bint inside(uint64_t size, uint64_t offset, uint64_t length) noexcept nogil:
    """Whether [offset, offset + length) lies in [0, size), without a sum that could overflow."""
    return offset <= size and length <= size - offset


cdef object check_file_holds(int fd, uint64_t offset, uint64_t length):
    # A mapping past the end of a file succeeds and then dies of SIGBUS; devices and pipes have no size to check.
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and not inside(status.st_size, offset, length):
        raise errors.OutsideWindow(
            f"a window of {length} bytes at {offset:#x} does not fit its file of {status.st_size} bytes"
        )


cdef class Window:
    def __cinit__(self, int fd, offset: int, length: int, *, bint writable=True):
        cdef void *address
        if length <= 0 or offset < 0:
            raise ValueError(f"a window of {length} bytes at {offset} has no length, or starts before its file")
        check_file_holds(fd, offset, length)
        address = mmap(NULL, length, PROT_READ | (PROT_WRITE if writable else 0), MAP_SHARED, fd, offset)
        if address == MAP_FAILED:
            raise OSError(errno, os.strerror(errno), f"mapping {length} bytes at offset {offset:#x}")
        self.base = <uint8_t *>address
        self.length = length
        self.writable = writable

    def __dealloc__(self):
        if self.base is not NULL:
            munmap(self.base, self.length)

    cdef int check_open(self) except -1:
        if self.base is NULL:
            raise ValueError("the window is closed")
        return 0

    cdef uint8_t *at(self, uint64_t offset, uint64_t length) except NULL:
        """Address of a stretch that is inside the window."""
        self.check_open()
        if not inside(self.length, offset, length):
            raise errors.OutsideWindow(
                f"{length} bytes at offset {offset:#x} do not lie in a window of {self.length} bytes"
            )
        return self.base + offset

    cdef uint8_t *word(self, uint64_t offset, uint64_t width) except NULL:
        """Address of an aligned integer."""
        if offset % width:
            raise ValueError(f"offset {offset:#x} is not a multiple of {width}, so it cannot be accessed in one piece")
        return self.at(offset, width)

    cdef uint8_t *writable_word(self, uint64_t offset, uint64_t width) except NULL:
        if not self.writable:
            raise TypeError("the window is mapped read-only")
        return self.word(offset, width)

    cdef object view_of(self, uint64_t offset, uint64_t length, bint readonly):
        cdef WindowView view = WindowView.__new__(WindowView)
        view.address = self.at(offset, length)
        view.length = length
        view.readonly = readonly or not self.writable
        view.window = self
        return PyMemoryView_FromObject(view)

    def load8(self, uint64_t offset):
        return iv_load8(self.word(offset, 1))

    def load16(self, uint64_t offset):
        return iv_load16(self.word(offset, 2))

    def load32(self, uint64_t offset):
        return iv_load32(self.word(offset, 4))

    def load64(self, uint64_t offset):
        return iv_load64(self.word(offset, 8))

    def store8(self, uint64_t offset, uint8_t value):
        iv_store8(self.writable_word(offset, 1), value)

    def store16(self, uint64_t offset, uint16_t value):
        iv_store16(self.writable_word(offset, 2), value)

    def store32(self, uint64_t offset, uint32_t value):
        iv_store32(self.writable_word(offset, 4), value)

    def store64(self, uint64_t offset, uint64_t value):
        iv_store64(self.writable_word(offset, 8), value)

    def compare_exchange32(self, uint64_t offset, uint32_t expected, uint32_t desired):
        return bool(iv_compare_exchange32(self.writable_word(offset, 4), expected, desired))

    def fence(self):
        iv_fence()

    def read(self, uint64_t offset, uint64_t length):
        cdef const uint8_t *source = self.at(offset, length)
        return PyBytes_FromStringAndSize(<const char *>source, length)

    def write(self, uint64_t offset, data):
        cdef Py_buffer source
        if not self.writable:
            raise TypeError("the window is mapped read-only")
        PyObject_GetBuffer(data, &source, PyBUF_SIMPLE)
        try:
            memcpy(self.at(offset, source.len), source.buf, source.len)
        finally:
            PyBuffer_Release(&source)

    def zero(self, uint64_t offset, uint64_t length):
        if not self.writable:
            raise TypeError("the window is mapped read-only")
        memset(self.at(offset, length), 0, length)

    def view(self, uint64_t offset, uint64_t length):
        return self.view_of(offset, length, False)

    def close(self):
        if self.exports:
            raise BufferError(f"the window cannot be unmapped while {self.exports} views of it are in use")
        if self.base is not NULL:
            munmap(self.base, self.length)
            self.base = NULL
