# SPDX-License-Identifier: MIT
# The packet header of the network device (virtio 1.4, 5.1.6), of which only what makes sense is passed on.

cdef enum:
    NET_HEADER_SIZE = 12
    ADDRESS_SIZE = 6
    NET_HEAD_SIZE = NET_HEADER_SIZE + 2 * ADDRESS_SIZE      # up to where nothing has to be looked at any more
    NET_HEAD_WORDS = 3          # the same in words of 8 bytes
    NET_BUFFERS_SHIFT = 16      # of num_buffers in the second one
    ETHERNET_HEADER_SIZE = 14
    LONGEST_FRAME = 65535 + ETHERNET_HEADER_SIZE + 4        # an IP packet of 64 KiB, Ethernet header, one VLAN tag

# Feature bits (virtio 1.4, 5.1.3).
cdef enum:
    NET_F_CSUM = 1 << 0
    NET_F_GUEST_CSUM = 1 << 1
    NET_F_GUEST_TSO4 = 1 << 7
    NET_F_GUEST_TSO6 = 1 << 8
    NET_F_GUEST_ECN = 1 << 9
    NET_F_HOST_TSO4 = 1 << 11
    NET_F_HOST_TSO6 = 1 << 12
    NET_F_HOST_ECN = 1 << 13

cdef uint64_t ALL_OFFLOADS = (
    NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_GUEST_ECN | NET_F_HOST_TSO4
    | NET_F_HOST_TSO6 | NET_F_HOST_ECN
)

cdef enum:
    NET_NEEDS_CSUM = 1
    GSO_NONE = 0
    GSO_TCPV4 = 1
    GSO_TCPV6 = 4
    GSO_ECN = 0x80


cdef uint64_t NET_BUFFERS_MASK = <uint64_t>0xffff << NET_BUFFERS_SHIFT
cdef uint64_t NET_ADDRESS_MASK = (<uint64_t>1 << 48) - 1


cdef struct net_header:
    uint8_t flags
    uint8_t gso_type
    uint16_t hdr_len            # bytes, as all that follow
    uint16_t gso_size
    uint16_t csum_start
    uint16_t csum_offset
    uint16_t num_buffers


cdef inline uint64_t either(bint condition, uint64_t value) noexcept nogil:
    return value if condition else 0


cdef bint net_check_header(net_header *header, uint64_t length, uint64_t accepted) noexcept nogil:
    """Whether the header a driver put before a frame of `length` bytes makes sense (5.1.6.2.1); what says nothing is
    cleared. Only what the driver accepted may be asked for. Unknown flags are ignored (5.1.6.2.2)."""
    cdef uint8_t kind = header.gso_type & ~GSO_ECN
    cdef uint64_t feature = either(kind == GSO_TCPV4, NET_F_HOST_TSO4) | either(kind == GSO_TCPV6, NET_F_HOST_TSO6)
    header.num_buffers = 1
    header.flags &= NET_NEEDS_CSUM
    if header.flags:
        if not accepted & NET_F_CSUM or <uint32_t>header.csum_start + header.csum_offset + 2 > length:
            return False
    if header.gso_type == GSO_NONE:
        header.hdr_len = header.gso_size = 0
        if not header.flags:
            header.csum_start = header.csum_offset = 0
        return True
    if not feature & accepted or not header.flags or not header.gso_size or header.hdr_len > length:
        return False
    return not header.gso_type & GSO_ECN or accepted & NET_F_HOST_ECN != 0


cdef uint64_t net_needed_to_receive(const net_header *header) noexcept nogil:
    """Feature bits a driver must have accepted to be given a frame with this header (5.1.6.4.1)."""
    cdef uint8_t kind = header.gso_type & ~GSO_ECN
    return (
        either(header.flags & NET_NEEDS_CSUM, NET_F_GUEST_CSUM)
        | either(kind == GSO_TCPV4, NET_F_GUEST_TSO4)
        | either(kind == GSO_TCPV6, NET_F_GUEST_TSO6)
        | either(header.gso_type & GSO_ECN, NET_F_GUEST_ECN)
    )
