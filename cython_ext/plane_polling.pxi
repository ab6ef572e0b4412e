# SPDX-License-Identifier: MIT
# How long a worker looks for work before it sleeps: as long as looking has been worth it of late.

cdef enum:
    FIRST_SPIN = 4000           # nanoseconds


cdef inline bint polling_goes_on(const polling *spin, int64_t idle) noexcept nogil:
    """Whether to look once more after `idle` nanoseconds without work."""
    return idle < spin.current or spin.longest < 0


cdef void polling_learn(polling *spin, int64_t idle) noexcept nogil:
    """Work came after `idle` nanoseconds. Where looking longer would have met it, look longer next time; where not even
    the longest would have, look shorter."""
    if spin.longest <= 0 or idle <= spin.current:
        return
    if idle <= spin.longest:
        spin.current = min(spin.longest, max(<int64_t>FIRST_SPIN, spin.current * 2))
    else:
        spin.current = spin.current // 2 if spin.current > FIRST_SPIN else 0
