# SPDX-License-Identifier: MIT
# Checksums and TCP segmentation in software, for a receiver that has not negotiated them. All of it happens in private
# copies, so what was checked is what is used.

cdef enum:
    MOST_SEGMENTS = 256         # a segment size that cuts a frame into more pieces is an attack, not TCP

cdef enum:
    ETHERTYPE_IPV4 = 0x0800
    ETHERTYPE_IPV6 = 0x86DD
    ETHERTYPE_VLAN = 0x8100
    ETHERTYPE_SERVICE_VLAN = 0x88A8
    VLAN_TAG_SIZE = 4
    PROTOCOL_TCP = 6
    IPV4_HEADER_SIZE = 20
    IPV6_HEADER_SIZE = 40
    TCP_HEADER_SIZE = 20
    TCP_CHECKSUM = 16           # offset in the header, as the next one
    UDP_CHECKSUM = 6
    TCP_FIN_PSH = 0x09
    TCP_CWR = 0x80


# A frame to be segmented, taken apart.
cdef struct net_layers:
    uint32_t network            # where its header starts, as the next two
    uint32_t transport
    uint32_t payload
    bint four                   # IPv4, not IPv6


cdef inline uint16_t load_be16(const uint8_t *place) noexcept nogil:
    return <uint16_t>(place[0] << 8 | place[1])


cdef inline void store_be16(uint8_t *place, uint32_t value) noexcept nogil:
    place[0] = <uint8_t>(value >> 8)
    place[1] = <uint8_t>value


cdef inline uint32_t load_be32(const uint8_t *place) noexcept nogil:
    return <uint32_t>load_be16(place) << 16 | load_be16(place + 2)


cdef inline void store_be32(uint8_t *place, uint32_t value) noexcept nogil:
    store_be16(place, value >> 16)
    store_be16(place + 2, value)


cdef uint64_t internet_sum(const uint8_t *data, uint64_t length) noexcept nogil:
    """Sum of big-endian 16-bit words (RFC 1071), an odd last byte padded with zero; not folded yet."""
    cdef uint64_t total = 0
    cdef uint64_t i
    for i in range(length // 2):
        total += load_be16(data + 2 * i)
    if length & 1:
        total += <uint64_t>data[length - 1] << 8
    return total


cdef uint16_t internet_checksum(uint64_t total) noexcept nogil:
    """What completes a sum, 0 to 0xfffe."""
    total %= 0xffff
    return <uint16_t>(0xffff - total) if total else 0


cdef void net_complete(uint8_t *frame, uint64_t length, const net_header *header) noexcept nogil:
    """Complete the checksum the header speaks of, which lies inside the frame."""
    cdef uint16_t value = internet_checksum(internet_sum(frame + header.csum_start, length - header.csum_start))
    if not value and header.csum_offset == UDP_CHECKSUM:
        value = 0xffff  # 0 would mean "no checksum" (RFC 768)
    store_be16(frame + header.csum_start + header.csum_offset, value)


cdef uint32_t net_take_apart(const uint8_t *frame, uint64_t length, const net_header *header,
                             net_layers *layers) noexcept nogil:
    """Into how many segments the frame falls; 0 where it contradicts its header."""
    cdef uint16_t kind = load_be16(frame + ETHERNET_HEADER_SIZE - 2)
    cdef uint32_t tcp = header.csum_start
    cdef uint64_t count
    layers.network = ETHERNET_HEADER_SIZE
    layers.four = header.gso_type & ~GSO_ECN == GSO_TCPV4
    if (kind == ETHERTYPE_VLAN or kind == ETHERTYPE_SERVICE_VLAN) and length >= ETHERNET_HEADER_SIZE + VLAN_TAG_SIZE:
        layers.network += VLAN_TAG_SIZE
        kind = load_be16(frame + layers.network - 2)
    if header.csum_offset != TCP_CHECKSUM or kind != (ETHERTYPE_IPV4 if layers.four else ETHERTYPE_IPV6):
        return 0
    if tcp < layers.network + (IPV4_HEADER_SIZE if layers.four else IPV6_HEADER_SIZE):
        return 0
    if tcp + TCP_HEADER_SIZE > length:
        return 0
    layers.transport = tcp
    layers.payload = tcp + (frame[tcp + 12] >> 4) * 4
    if layers.payload < tcp + TCP_HEADER_SIZE or layers.payload > length:
        return 0
    count = (length - layers.payload + header.gso_size - 1) // header.gso_size
    return 0 if count > MOST_SEGMENTS else <uint32_t>max(count, <uint64_t>1)


cdef uint64_t net_segment(const uint8_t *frame, uint64_t length, const net_header *header, const net_layers *layers,
                          uint32_t index, bint last, uint8_t *into) noexcept nogil:
    """Write segment `index`, a frame of its own; its length."""
    cdef uint64_t skip = <uint64_t>index * header.gso_size
    cdef uint64_t data = min(<uint64_t>header.gso_size, length - layers.payload - skip)
    cdef uint64_t whole = layers.payload + data
    cdef uint8_t *network = into + layers.network
    cdef uint8_t *tcp = into + layers.transport
    cdef uint64_t total = PROTOCOL_TCP + (whole - layers.transport)
    memcpy(into, frame, layers.payload)
    memcpy(into + layers.payload, frame + layers.payload + skip, data)
    store_be32(tcp + 4, load_be32(tcp + 4) + <uint32_t>skip)
    if not last:
        tcp[13] &= 0xff & ~TCP_FIN_PSH
    if index:
        tcp[13] &= 0xff & ~TCP_CWR
    if layers.four:
        store_be16(network + 2, <uint32_t>(whole - layers.network))
        store_be16(network + 4, load_be16(network + 4) + index)
        store_be16(network + 10, 0)
        store_be16(network + 10, internet_checksum(internet_sum(network, layers.transport - layers.network)))
        total += internet_sum(network + 12, 8)
    else:
        store_be16(network + 4, <uint32_t>(whole - layers.network - IPV6_HEADER_SIZE))
        total += internet_sum(network + 8, 32)
    store_be16(tcp + TCP_CHECKSUM, 0)
    total += internet_sum(tcp, whole - layers.transport)
    store_be16(tcp + TCP_CHECKSUM, internet_checksum(total))
    return whole


def plain_frames(bytes frame not None, uint8_t flags, uint8_t gso_type, uint16_t hdr_len, uint16_t gso_size,
                 uint16_t csum_start, uint16_t csum_offset):
    cdef const uint8_t *source = <const uint8_t *>PyBytes_AS_STRING(frame)
    cdef uint64_t length = len(frame)
    cdef net_header header
    cdef net_layers layers
    cdef uint32_t count, i
    cdef bytearray whole
    cdef list found = []
    header.flags, header.gso_type, header.hdr_len = flags, gso_type, hdr_len
    header.gso_size, header.csum_start, header.csum_offset = gso_size, csum_start, csum_offset
    if length < ETHERNET_HEADER_SIZE or not net_check_header(&header, length, ALL_OFFLOADS):
        return found
    if header.gso_type == GSO_NONE:
        whole = bytearray(frame)
        if header.flags:
            net_complete(<uint8_t *>PyByteArray_AS_STRING(whole), length, &header)
        return [bytes(whole)]
    count = net_take_apart(source, length, &header, &layers)
    for i in range(count):
        whole = bytearray(length)
        found.append(bytes(whole[:net_segment(source, length, &header, &layers, i, i + 1 == count,
                                              <uint8_t *>PyByteArray_AS_STRING(whole))]))
    return found
