# SPDX-License-Identifier: MIT
# Latencies in buckets a sixteenth of an octave wide: nothing is allocated while measuring, and a percentile is right
# within 6 %.

cdef enum:
    STEPS = 16                  # buckets of one octave
    STEP_BITS = 4
    BUCKETS = 64 * STEPS


cdef struct histogram:
    uint64_t counts[BUCKETS]
    uint64_t total


cdef extern from *:
    int __builtin_clzll(unsigned long long value) noexcept nogil


cdef inline uint32_t bucket_of(uint64_t value) noexcept nogil:
    cdef int octave
    if value < STEPS:
        return <uint32_t>value
    octave = 63 - __builtin_clzll(value)
    return <uint32_t>((octave - STEP_BITS + 1) * STEPS + ((value >> (octave - STEP_BITS)) & (STEPS - 1)))


cdef inline void histogram_add(histogram *into, uint64_t value) noexcept nogil:
    into.counts[bucket_of(value)] += 1
    into.total += 1


cdef double bucket_middle(int bucket):
    cdef int octave
    if bucket < STEPS:
        return bucket
    octave = bucket // STEPS + STEP_BITS - 1
    return (STEPS + bucket % STEPS + 0.5) * 2.0 ** (octave - STEP_BITS)


cdef double percentile(const histogram *of, double share):
    """Nanoseconds that so much of all latencies do not exceed; 0 without any."""
    cdef uint64_t wanted = <uint64_t>(share * of.total)
    cdef uint64_t seen = 0
    cdef int bucket
    if not of.total:
        return 0.0
    for bucket in range(BUCKETS):
        seen += of.counts[bucket]
        if seen > wanted or seen == of.total:
            return bucket_middle(bucket)
    return 0.0


cdef tuple percentiles(const histogram *of):
    return percentile(of, 0.5), percentile(of, 0.99), percentile(of, 0.999)
