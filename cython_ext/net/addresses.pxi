# SPDX-License-Identifier: MIT
# Where each Ethernet address lives: a hash table of bounded size, and for each port the addresses learned there in
# order of their last use.

cdef struct net_address:
    uint64_t key                # the address in the lower 48 bits
    net_port *port
    uint64_t seen               # nanoseconds; when a frame from there came last
    int next                    # in its bucket, or in the list of free entries; -1 = last
    int older                   # of the same port
    int newer
    bint own                    # a device has it: neither learned nor forgotten


cdef struct net_addresses:
    net_address *entries
    int *buckets
    uint32_t bits               # 2^bits buckets, and half as many entries
    int free
    uint32_t most               # learned for each port, so that no guest can fill the table
    uint64_t secret             # odd; so that nobody can choose addresses that fall into one bucket


cdef inline uint64_t address_key(const uint8_t *address) noexcept nogil:
    cdef uint64_t key = 0
    memcpy(&key, address, ADDRESS_SIZE)
    return key


cdef inline bint address_is_group(uint64_t key) noexcept nogil:
    return key & 1


cdef inline int *address_bucket(const net_addresses *table, uint64_t key) noexcept nogil:
    return table.buckets + ((key * table.secret) >> (64 - table.bits))


cdef int addresses_open(net_addresses *table, uint32_t ports, uint32_t most, uint64_t secret) except -1:
    """An empty table with room for all that so many ports can learn."""
    cdef uint32_t i
    table.bits = 9
    while (<uint64_t>1 << (table.bits - 1)) < <uint64_t>ports * (most + 2):
        table.bits += 1
    table.entries = <net_address *>calloc(<size_t>1 << (table.bits - 1), sizeof(net_address))
    table.buckets = <int *>malloc(sizeof(int) << table.bits)
    if table.entries is NULL or table.buckets is NULL:
        addresses_close(table)
        raise MemoryError
    memset(table.buckets, 0xff, sizeof(int) << table.bits)
    for i in range(<uint32_t>1 << (table.bits - 1)):
        table.entries[i].next = <int>i + 1
    table.entries[(<uint32_t>1 << (table.bits - 1)) - 1].next = -1
    table.free = 0
    table.secret = secret | 1
    table.most = most
    return 0


cdef void addresses_close(net_addresses *table) noexcept nogil:
    free(table.entries)
    free(table.buckets)
    table.entries, table.buckets = NULL, NULL


cdef int address_find(const net_addresses *table, uint64_t key) noexcept nogil:
    """Its entry, or -1."""
    cdef int at = address_bucket(table, key)[0]
    while at >= 0 and table.entries[at].key != key:
        at = table.entries[at].next
    return at


cdef void address_leave_port(net_addresses *table, int at) noexcept nogil:
    """Out of the order of use of its port."""
    cdef net_address *entry = &table.entries[at]
    if entry.own:
        return
    if entry.older >= 0:
        table.entries[entry.older].newer = entry.newer
    else:
        entry.port.oldest = entry.newer
    if entry.newer >= 0:
        table.entries[entry.newer].older = entry.older
    else:
        entry.port.newest = entry.older
    entry.port.learned -= 1


cdef void address_join_port(net_addresses *table, int at, net_port *port) noexcept nogil:
    """The last one used of that port."""
    cdef net_address *entry = &table.entries[at]
    entry.port = port
    entry.older = port.newest
    entry.newer = -1
    if port.newest >= 0:
        table.entries[port.newest].newer = at
    else:
        port.oldest = at
    port.newest = at
    port.learned += 1


cdef void address_forget(net_addresses *table, int at) noexcept nogil:
    cdef net_address *entry = &table.entries[at]
    cdef int *link = address_bucket(table, entry.key)
    address_leave_port(table, at)
    while link[0] != at:
        link = &table.entries[link[0]].next
    link[0] = entry.next
    entry.next = table.free
    table.free = at


cdef int address_add(net_addresses *table, uint64_t key) noexcept nogil:
    """A new entry for an address that has none. There is room: the table is made for all that its ports can learn."""
    cdef int at = table.free
    cdef int *bucket = address_bucket(table, key)
    table.free = table.entries[at].next
    table.entries[at].key = key
    table.entries[at].own = False
    table.entries[at].next = bucket[0]
    bucket[0] = at
    return at


cdef void address_own(net_addresses *table, uint64_t key, net_port *port) noexcept nogil:
    """The address of a device: it stays with its port, whoever else uses it."""
    cdef int at = address_find(table, key)
    if at >= 0:
        address_forget(table, at)
    at = address_add(table, key)
    table.entries[at].own = True
    table.entries[at].port = port


cdef void address_learn(net_addresses *table, uint64_t key, net_port *port, uint64_t now) noexcept nogil:
    """A frame from there came in through that port."""
    cdef int at
    if address_is_group(key):
        return
    at = address_find(table, key)
    if at < 0:
        at = address_add(table, key)
    elif table.entries[at].own:
        return
    elif at == port.newest:
        table.entries[at].seen = now
        return
    else:
        address_leave_port(table, at)
    address_join_port(table, at, port)
    table.entries[at].seen = now
    if port.learned > table.most:
        address_forget(table, port.oldest)


cdef net_port *address_port(const net_addresses *table, uint64_t key, uint64_t oldest) noexcept nogil:
    """Where an address is known to be; NULL for one not used since `oldest`."""
    cdef int at = address_find(table, key)
    if at < 0 or (not table.entries[at].own and table.entries[at].seen <= oldest):
        return NULL
    return table.entries[at].port


cdef void addresses_leave(net_addresses *table, net_port *port) noexcept nogil:
    """The port is gone, with all that was learned there and with the address of its device."""
    cdef uint32_t i
    cdef int at, following
    for i in range(<uint32_t>1 << table.bits):
        at = table.buckets[i]
        while at >= 0:
            following = table.entries[at].next
            if table.entries[at].port is port:
                address_forget(table, at)
            at = following


cdef int addresses_make_room(net_addresses *table, net_port **ports, uint32_t count, uint32_t room) except -1:
    """For what `room` ports can learn. What these `count` ports have learned is kept, in its order."""
    cdef net_addresses larger
    cdef int at, other, following
    cdef uint32_t i
    if table.entries is not NULL and <uint64_t>room * (table.most + 2) <= <uint64_t>1 << (table.bits - 1):
        return 0
    addresses_open(&larger, 2 * room, table.most, int.from_bytes(os.urandom(8), "little"))
    if table.entries is NULL:
        table[0] = larger
        return 0
    for i in range(<uint32_t>1 << table.bits):
        at = table.buckets[i]
        while at >= 0:
            if table.entries[at].own:
                address_own(&larger, table.entries[at].key, table.entries[at].port)
            at = table.entries[at].next
    for i in range(count):
        at = ports[i].oldest
        ports[i].oldest = ports[i].newest = -1
        ports[i].learned = 0
        while at >= 0:
            following = table.entries[at].newer
            other = address_add(&larger, table.entries[at].key)
            address_join_port(&larger, other, ports[i])
            larger.entries[other].seen = table.entries[at].seen
            at = following
    addresses_close(table)
    table[0] = larger
    return 0
