# SPDX-License-Identifier: MIT
"""Our rings against Linux's own: virtio_ring.c drives our device side, vringh.c answers our driver side."""
