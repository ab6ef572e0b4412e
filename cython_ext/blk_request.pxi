# SPDX-License-Identifier: MIT
# One block request between file and window (virtio 1.4, 5.2.6), where nothing is unusual about it. Everything else is
# left to the Python server of requests, so that there is one meaning of a request.

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t preadv(int fd, const iovec *vectors, int count, long offset)
    ssize_t pwritev2(int fd, const iovec *vectors, int count, long offset, int flags)
    int RWF_DSYNC


cdef extern from "<unistd.h>" nogil:
    int fdatasync(int fd)
    ssize_t pread(int fd, void *into, size_t length, long offset)


cdef enum:
    BLK_IN = 0
    BLK_OUT = 1
    BLK_FLUSH = 4
    BLK_HEADER = 16
    BLK_SECTOR = 512
    BLK_MOST_VECTORS = 1024     # IOV_MAX


# How carrying one out went.
cdef enum:
    BLK_DONE = 0
    BLK_UNUSUAL = -1            # nothing was done of it yet; an error number above 0 is the host's answer


cdef struct blk_header:
    uint32_t kind
    uint32_t reserved
    uint64_t sector


# What an image is to the engine of one queue.
cdef struct blk_file:
    int fd                      # -1 = a null device, which has nothing to read or to keep
    uint64_t capacity           # bytes; changes
    uint32_t writethrough       # each write is stable before it is reported done; changes
    bint read_only
    bint direct                 # O_DIRECT: what is not aligned for it goes another way


cdef inline void blk_header_of(const uint8_t *base, const chain_record *chain, blk_header *header) noexcept nogil:
    """A private copy, however it is cut into segments."""
    if chain.segments[0].length >= BLK_HEADER:
        memcpy(header, base + chain.segments[0].offset, BLK_HEADER)
    else:
        segments_gather(base, chain.segments, chain.readable, 0, <uint8_t *>header, BLK_HEADER)


cdef int blk_vectors(uint8_t *base, const segment *segments, uint32_t count, uint64_t skip, uint64_t length,
                     iovec *vectors) noexcept nogil:
    """`length` bytes of the segments, `skip` bytes from their start; how many vectors that are."""
    cdef int used = 0
    cdef uint64_t part
    cdef uint32_t i
    for i in range(count):
        if not length:
            break
        if skip >= segments[i].length:
            skip -= segments[i].length
            continue
        part = min(<uint64_t>segments[i].length - skip, length)
        vectors[used].iov_base = base + segments[i].offset + skip
        vectors[used].iov_len = part
        used += 1
        length -= part
        skip = 0
    return used


cdef inline bint blk_inside(uint64_t capacity, uint64_t sector, uint64_t length) noexcept nogil:
    """Whether a range of whole sectors lies in the capacity."""
    return not length % BLK_SECTOR and sector <= capacity // BLK_SECTOR and length <= capacity - sector * BLK_SECTOR


cdef inline void blk_answer_ok(uint8_t *base, const chain_record *chain) noexcept nogil:
    """The status is the last writable byte."""
    cdef const segment *last = &chain.segments[chain.readable + chain.writable - 1]
    iv_store8(base + last.offset + last.length - 1, 0)


cdef int blk_outcome(const blk_file *file, int64_t moved, uint64_t length) noexcept nogil:
    """Of a transfer. A short one is begun anew by the server of requests, which knows how to go on."""
    if moved == <int64_t>length:
        return BLK_DONE
    if moved >= 0 or (file.direct and errno == EINVAL):
        return BLK_UNUSUAL
    return errno


cdef int blk_read(const blk_file *file, uint8_t *base, const chain_record *chain, uint64_t sector,
                  iovec *vectors) noexcept nogil:
    cdef uint64_t length = chain.writable_length - 1
    cdef int64_t moved
    cdef int count
    if not length or chain.writable > BLK_MOST_VECTORS or not blk_inside(iv_load64(&file.capacity), sector, length):
        return BLK_UNUSUAL
    if file.fd < 0:
        return BLK_DONE
    count = blk_vectors(base, chain.segments + chain.readable, chain.writable, 0, length, vectors)
    # In one piece it takes the kernel a tenth less time than as a vector of one.
    if count == 1:
        moved = pread(file.fd, vectors[0].iov_base, length, sector * BLK_SECTOR)
    else:
        moved = preadv(file.fd, vectors, count, sector * BLK_SECTOR)
    return blk_outcome(file, moved, length)


cdef int blk_write(const blk_file *file, uint8_t *base, const chain_record *chain, uint64_t sector,
                   iovec *vectors) noexcept nogil:
    cdef uint64_t length = chain.readable_length - BLK_HEADER
    cdef int flags = RWF_DSYNC if iv_load32(&file.writethrough) else 0
    cdef int count
    if file.read_only or chain.writable_length != 1 or not length or chain.readable > BLK_MOST_VECTORS:
        return BLK_UNUSUAL
    if not blk_inside(iv_load64(&file.capacity), sector, length):
        return BLK_UNUSUAL
    if file.fd < 0:
        return BLK_DONE
    count = blk_vectors(base, chain.segments, chain.readable, BLK_HEADER, length, vectors)
    return blk_outcome(file, pwritev2(file.fd, vectors, count, sector * BLK_SECTOR, flags), length)


cdef int blk_flush(const blk_file *file, const chain_record *chain) noexcept nogil:
    if chain.writable_length != 1:
        return BLK_UNUSUAL
    if file.fd >= 0 and not file.read_only and fdatasync(file.fd) < 0:
        return errno
    return BLK_DONE


cdef int blk_carry_out(const blk_file *file, const ring_place *place, const chain_record *chain,
                       iovec *vectors) noexcept nogil:
    """BLK_DONE, BLK_UNUSUAL or an error number."""
    cdef blk_header header
    if chain.readable_length < BLK_HEADER or not chain.writable_length:
        return BLK_UNUSUAL
    # More bytes than the window has: its descriptors overlap.
    if chain.readable_length > place.length or chain.writable_length > place.length:
        return BLK_UNUSUAL
    blk_header_of(place.base, chain, &header)
    if header.kind == BLK_IN:
        return blk_read(file, place.base, chain, header.sector, vectors)
    if header.kind == BLK_OUT:
        return blk_write(file, place.base, chain, header.sector, vectors)
    if header.kind == BLK_FLUSH:
        return blk_flush(file, chain)
    return BLK_UNUSUAL
