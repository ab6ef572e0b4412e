# SPDX-License-Identifier: MIT
# What became of the frames of one network device; transmit and receive as the guest sees them.

cdef enum:
    TRANSMITTED_FRAMES
    TRANSMITTED_BYTES
    TRANSMIT_MALFORMED
    TRANSMIT_LINK_DOWN
    TRANSMIT_REFUSED
    RECEIVED_FRAMES
    RECEIVED_BYTES
    RECEIVE_MALFORMED
    RECEIVE_TOO_LONG
    RECEIVE_INACTIVE
    RECEIVE_NO_BUFFER
    RECEIVE_WAITS
    CONNECTION_LOSSES
    NET_COUNTERS

cdef class NetPort

cdef tuple NET_COUNTER_NAMES = (
    "transmitted_frames", "transmitted_bytes", "transmit_malformed", "transmit_link_down", "transmit_refused",
    "received_frames", "received_bytes", "receive_malformed", "receive_too_long", "receive_inactive",
    "receive_no_buffer", "receive_waits", "connection_losses",
)


@cython.final
cdef class NetCounters:
    cdef NetPort owner

    def __init__(self):
        raise TypeError("counters come from NetPort.counters")

    def __getattr__(self, str name):
        if name not in NET_COUNTER_NAMES:
            raise AttributeError(f"network devices have no counter {name!r}")
        return self.owner.port.counters[<int>NET_COUNTER_NAMES.index(name)]

    def __setattr__(self, str name, value):
        if name not in NET_COUNTER_NAMES:
            raise AttributeError(f"network devices have no counter {name!r}")
        self.owner.port.counters[<int>NET_COUNTER_NAMES.index(name)] = value

    def as_dict(self):
        return {name: self.owner.port.counters[i] for i, name in enumerate(NET_COUNTER_NAMES)}
