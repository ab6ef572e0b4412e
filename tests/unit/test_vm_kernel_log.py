# SPDX-License-Identifier: MIT
"""Lines that tell of a broken kernel are found, advice on healthy boots is not."""

import pytest

from ivshmem_virtio.vm.kernel_log import trouble


@pytest.mark.parametrize(
    "line",
    [
        "[    1.0] WARNING: CPU: 0 PID: 1 at kernel/dma/mapping.c:100 dma_free_attrs+0x1/0x2",
        "[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "[    1.0] Oops: 0000 [#1] PREEMPT SMP NOPTI",
        "[    1.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "[    1.0] INFO: task mount:99 blocked for more than 120 seconds.",
        "[    1.0] refcount_t: underflow; use-after-free.",
        '[    1.0] irq 24: nobody cared (try booting with the "irqpoll" option)',
        "[    1.0] I/O error, dev vda, sector 0 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2",
        "[    1.0] Kernel panic - not syncing: sysrq triggered crash",
    ],
)
def test_trouble_is_found(line: str) -> None:
    assert trouble(f"[    0.9] fine\n{line}\n[    1.1] fine\n") == [line]


@pytest.mark.parametrize(
    "line",
    [
        '[    0.9] PCI: Using host bridge windows from ACPI; if necessary, use "pci=nocrs" and report a bug',
        "[    0.1] RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks!",
        "[    0.1] debug: BUGFIX level 3",
        "[    2.0] EXT4-fs (vda): mounted filesystem with ordered data mode. Quota mode: none.",
    ],
)
def test_a_healthy_boot_passes(line: str) -> None:
    assert trouble(line) == []
