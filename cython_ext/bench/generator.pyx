# SPDX-License-Identifier: MIT
"""Load for the benchmarks, compiled: it drives any device, ours or a peer's. Documentation stands in generator.pyi."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ivshmem_virtio.core cimport (
    Bell, DeviceQueue, DriverQueue, Engine, Window, bell_ring, chain_record, device_ring, device_ring_disable,
    device_ring_enable, device_ring_pop, device_ring_publish, device_ring_push, driver_ring, driver_ring_add,
    driver_ring_disable, driver_ring_enable, driver_ring_get, driver_ring_publish, iv_prefetch, segment,
    segments_gather, segments_scatter,
)
from ivshmem_virtio.core cimport bell as core_bell

from ivshmem_virtio.bench.outcome import Outcome

include "system.pxi"
include "histogram.pxi"
include "bell.pxi"
include "blk_load.pxi"
include "frame_load.pxi"
include "one_way_load.pxi"
include "frame_engine.pxi"
include "cache_line.pxi"
include "copies.pxi"
include "eventfd_trips.pxi"
include "pread_loop.pxi"
