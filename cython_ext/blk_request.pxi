# SPDX-License-Identifier: MIT
# One block request between file and window (virtio 1.4, 5.2.6), where nothing is unusual about it. Everything else is
# left to the Python server of requests, so that there is one meaning of a request.

cdef enum:
    BLK_IN = 0
    BLK_OUT = 1
    BLK_FLUSH = 4
    BLK_DISCARD = 11
    BLK_WRITE_ZEROES = 13
    BLK_UNMAP = 1
    BLK_MOST_DISCARD = 4_194_304  # sectors; both as devices/blk_request.py has them
    BLK_MOST_ZEROES = 32_768
    FALLOC_KEEP_SIZE = 1        # FALLOC_FL_*
    FALLOC_PUNCH_HOLE = 2
    FALLOC_ZERO_RANGE = 16
    BLK_HEADER = 16
    BLK_SECTOR = 512
    BLK_MOST_VECTORS = 1024     # IOV_MAX
    BLK_LARGE_WRITE = 262_144   # bytes from which copying takes long enough for others to go on meanwhile


# How carrying one out went.
cdef enum:
    BLK_DONE = 0
    BLK_UNUSUAL = -1            # nothing was done of it yet; an error number above 0 is the host's answer
    BLK_WAITS = -2              # it may have to wait, which is left to the kernel: as the wish says


cdef struct blk_header:
    uint32_t kind
    uint32_t reserved
    uint64_t sector


cdef struct blk_range:
    uint64_t sector
    uint32_t count
    uint32_t flags


# What an image is to the engine of one queue.
cdef struct blk_file:
    int fd                      # -1 = a null device, which has nothing to read or to keep
    uint64_t capacity           # bytes; changes
    uint32_t writethrough       # each write is stable before it is reported done; changes
    bint read_only
    bint direct                 # O_DIRECT: what is not aligned for it goes another way
    bint rings                  # what may have to wait can be left to the kernel
    bint refuses                # the file system cannot say whether a read has to wait
    bint slow                   # requests that were thought not to wait did, lately


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


cdef int blk_read_now(blk_file *file, iv_uring_wish *wish) noexcept nogil:
    """What is in the page cache; BLK_WAITS for what is not. Where the file system cannot tell, read in any case."""
    cdef int64_t moved
    if file.rings and not file.refuses:
        moved = preadv2(file.fd, wish.vectors, wish.count, wish.offset, RWF_NOWAIT)
        if moved >= 0 or errno != EOPNOTSUPP:
            return BLK_DONE if moved == <int64_t>wish.length else BLK_WAITS
        file.refuses = True
    if file.rings and file.slow:
        return BLK_WAITS
    # In one piece it takes the kernel a tenth less time than as a vector of one.
    if wish.count == 1:
        moved = pread(file.fd, wish.vectors.iov_base, wish.length, wish.offset)
    else:
        moved = preadv(file.fd, wish.vectors, wish.count, wish.offset)
    return blk_outcome(file, moved, wish.length)


cdef int blk_read(blk_file *file, uint8_t *base, const chain_record *chain, uint64_t sector, iovec *vectors,
                  iv_uring_wish *wish) noexcept nogil:
    cdef uint64_t length = chain.writable_length - 1
    if not length or chain.writable > BLK_MOST_VECTORS or not blk_inside(iv_load64(&file.capacity), sector, length):
        return BLK_UNUSUAL
    if file.fd < 0:
        return BLK_DONE
    wish.opcode, wish.fd, wish.flags = IV_URING_READV, file.fd, 0
    wish.offset, wish.length, wish.vectors = sector * BLK_SECTOR, length, vectors
    wish.count = blk_vectors(base, chain.segments + chain.readable, chain.writable, 0, length, vectors)
    return BLK_WAITS if file.rings and file.direct else blk_read_now(file, wish)


cdef int blk_write(blk_file *file, uint8_t *base, const chain_record *chain, uint64_t sector, iovec *vectors,
                   iv_uring_wish *wish) noexcept nogil:
    cdef uint64_t length = chain.readable_length - BLK_HEADER
    if file.read_only or chain.writable_length != 1 or not length or chain.readable > BLK_MOST_VECTORS:
        return BLK_UNUSUAL
    if not blk_inside(iv_load64(&file.capacity), sector, length):
        return BLK_UNUSUAL
    if file.fd < 0:
        return BLK_DONE
    wish.opcode, wish.fd, wish.flags = IV_URING_WRITEV, file.fd, RWF_DSYNC if iv_load32(&file.writethrough) else 0
    wish.offset, wish.length, wish.vectors = sector * BLK_SECTOR, length, vectors
    wish.count = blk_vectors(base, chain.segments, chain.readable, BLK_HEADER, length, vectors)
    # Others usually stay in the page cache, and there is no way to ask that all file systems know.
    if file.rings and (file.direct or wish.flags or file.slow or length >= BLK_LARGE_WRITE):
        return BLK_WAITS
    return blk_outcome(file, pwritev2(file.fd, vectors, wish.count, wish.offset, wish.flags), length)


cdef int blk_flush(const blk_file *file, const chain_record *chain, iv_uring_wish *wish) noexcept nogil:
    """It is about writes that were reported done before it came, so it need not wait for those that are under way."""
    if chain.writable_length != 1:
        return BLK_UNUSUAL
    if file.fd < 0 or file.read_only:
        return BLK_DONE
    if file.rings:
        wish.opcode, wish.fd, wish.flags = IV_URING_FSYNC, file.fd, FSYNC_DATASYNC
        wish.offset, wish.length, wish.count = 0, 0, 0
        return BLK_WAITS
    return errno if fdatasync(file.fd) < 0 else BLK_DONE


cdef int blk_give_up(blk_file *file, uint8_t *base, const chain_record *chain, bint zeroes,
                     iv_uring_wish *wish) noexcept nogil:
    """Discard or zero one range, where that is all there is to it."""
    cdef blk_range wanted
    if not file.rings or file.read_only or chain.writable_length != 1 or iv_load32(&file.writethrough):
        return BLK_UNUSUAL
    if chain.readable_length != BLK_HEADER + sizeof(blk_range):
        return BLK_UNUSUAL
    segments_gather(base, chain.segments, chain.readable, BLK_HEADER, <uint8_t *>&wanted, sizeof(blk_range))
    if wanted.flags & ~<uint32_t>(BLK_UNMAP if zeroes else 0) or not wanted.count:
        return BLK_UNUSUAL
    if wanted.count > <uint32_t>(BLK_MOST_ZEROES if zeroes else BLK_MOST_DISCARD):
        return BLK_UNUSUAL
    if not blk_inside(iv_load64(&file.capacity), wanted.sector, <uint64_t>wanted.count * BLK_SECTOR):
        return BLK_UNUSUAL
    wish.opcode, wish.fd, wish.count = IV_URING_FALLOCATE, file.fd, 0
    wish.offset, wish.length = wanted.sector * BLK_SECTOR, <uint64_t>wanted.count * BLK_SECTOR
    wish.flags = FALLOC_KEEP_SIZE
    wish.flags |= FALLOC_ZERO_RANGE if zeroes and not wanted.flags else FALLOC_PUNCH_HOLE
    return BLK_WAITS


cdef int blk_carry_out(blk_file *file, const ring_place *place, const chain_record *chain, iovec *vectors,
                       iv_uring_wish *wish) noexcept nogil:
    """BLK_DONE, BLK_UNUSUAL, an error number, or BLK_WAITS and what is to be done."""
    cdef blk_header header
    if chain.readable_length < BLK_HEADER or not chain.writable_length:
        return BLK_UNUSUAL
    # More bytes than the window has: its descriptors overlap.
    if chain.readable_length > place.length or chain.writable_length > place.length:
        return BLK_UNUSUAL
    blk_header_of(place.base, chain, &header)
    if header.kind == BLK_IN:
        return blk_read(file, place.base, chain, header.sector, vectors, wish)
    if header.kind == BLK_OUT:
        return blk_write(file, place.base, chain, header.sector, vectors, wish)
    if header.kind == BLK_FLUSH:
        return blk_flush(file, chain, wish)
    if header.kind in (BLK_DISCARD, BLK_WRITE_ZEROES):
        return blk_give_up(file, place.base, chain, header.kind == BLK_WRITE_ZEROES, wish)
    return BLK_UNUSUAL
