# SPDX-License-Identifier: MIT
"""How large a window a device needs.

Least: registers and rings, and one page of buffer for every descriptor of every queue where drivers fill queues (what
Linux posts to receive queues), never less than what one request of the type takes. Default: that of the type, or the
next power of two above the least where many or long queues make this more.
"""

from __future__ import annotations

from ivshmem_virtio.link.layout import MINIMUM_WINDOW, PAGE_SIZE, round_up
from ivshmem_virtio.link.registers import RegisterMap
from ivshmem_virtio.service.config_device import DeviceShape, DeviceTable
from ivshmem_virtio.service.config_errors import WindowTooSmall
from ivshmem_virtio.service.size import format_size, next_power_of_two


def reserved(shape: DeviceShape) -> int:
    """Bytes of registers and host-placed rings at the start of the window, at most."""
    return RegisterMap.of(shape.config_room, shape.queue_sizes).reserved


def least_window(device: DeviceTable, shape: DeviceShape) -> int:
    """The smallest window, in bytes, this device is given."""
    pool = max(device.least_pool, PAGE_SIZE * sum(shape.queue_sizes) if device.fills_queues else 0)
    return max(MINIMUM_WINDOW, round_up(reserved(shape) + pool, PAGE_SIZE))


def window_size(device: DeviceTable, shape: DeviceShape) -> int:
    """The window, in bytes, as configured or by default; raises WindowTooSmall."""
    least = least_window(device, shape)
    if device.window is None:
        return max(device.default_window, next_power_of_two(least))
    size = round_up(device.window, PAGE_SIZE)
    if size < least:
        raise WindowTooSmall(
            f'device "{device.name}": window = "{format_size(device.window)}" is too small: {len(shape.queue_sizes)} '
            f"queues of {max(shape.queue_sizes, default=0)} descriptors need {format_size(least)}; "
            "give it more or make its queues smaller"
        )
    return size
