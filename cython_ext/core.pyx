# SPDX-License-Identifier: MIT
"""Compiled core: the window and both sides of a virtqueue, split or packed. core.pyi has types and documentation."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.object cimport PyObject
from libc.errno cimport (
    EAGAIN, EBADFD, EBUSY, EINTR, EINVAL, EIO, ENODEV, ENOSYS, ENOTTY, EOPNOTSUPP, errno,
)
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

import os
import stat
from concurrent.futures import Future
from threading import Thread, get_ident

from ivshmem_virtio import errors

include "constants.pxi"
include "violations.pxi"
include "window.pxi"
include "window_view.pxi"
include "segments.pxi"
include "split_ring.pxi"
include "packed_ring.pxi"
include "ring_place.pxi"
include "ring_sharing.pxi"
include "in_flight.pxi"
include "packed_copies.pxi"
include "packed_resume.pxi"
include "device_checks.pxi"
include "split_device.pxi"
include "packed_device.pxi"
include "split_driver.pxi"
include "packed_driver.pxi"
include "device_ring.pxi"
include "driver_ring.pxi"
include "chain.pxi"
include "device_queue.pxi"
include "driver_queue.pxi"
include "plane_system.pxi"
include "plane_polling.pxi"
include "plane_bell.pxi"
include "plane_engine.pxi"
include "plane_watch.pxi"
include "plane_worker_loop.pxi"
include "plane_worker.pxi"
include "blk_system.pxi"
include "uring.pxi"
include "blk_request.pxi"
include "blk_flight.pxi"
include "blk_engine.pxi"
include "net/header.pxi"
include "net/counters.pxi"
include "net/port.pxi"
include "net/receive.pxi"
include "net/addresses.pxi"
include "net/offload.pxi"
include "net/switch.pxi"
include "net/engines.pxi"
include "net/line.pxi"
include "net/tap.pxi"
include "net/stream.pxi"
include "net/line_engines.pxi"
