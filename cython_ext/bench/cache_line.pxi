# SPDX-License-Identifier: MIT
# A cache line sent to and fro between two threads: how far apart two processors are at this moment.

cdef enum:
    APART = 64                  # words between the two flags: lines that no prefetcher takes together
    LINE_SPINS = 1 << 28        # several seconds: the other thread is not there


cdef bint line_await(const uint32_t *word, uint32_t value) noexcept nogil:
    cdef uint32_t spins = 0
    while bench_load(word) != value:
        spins += 1
        if spins == LINE_SPINS:
            return False
    return True


@cython.final
cdef class CacheLine:
    cdef uint32_t *words

    def __cinit__(self):
        self.words = <uint32_t *>calloc(4 * APART, sizeof(uint32_t))
        if self.words is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.words)

    def answer(self, uint32_t rounds):
        cdef uint32_t i
        cdef bint there = True
        with nogil:
            for i in range(1, rounds + 1):
                there = line_await(self.words + APART, i)
                if not there:
                    break
                bench_store(self.words + 2 * APART, i)
        return bool(there)

    def ask(self, uint32_t rounds):
        cdef uint64_t start, end
        cdef uint32_t i
        cdef bint there = True
        with nogil:
            bench_store(self.words + APART, 1)
            there = line_await(self.words + 2 * APART, 1)
            start = now()
            for i in range(2, rounds + 1):
                if not there:
                    break
                bench_store(self.words + APART, i)
                there = line_await(self.words + 2 * APART, i)
            end = now()
        if not there or rounds < 2:
            raise ValueError(f"{rounds} rounds, and the other thread did not answer: it needs a processor of its own")
        return (end - start) / (rounds - 1)
