/* SPDX-License-Identifier: GPL-2.0-only */
/* Where kernels differ, and since which version. Nothing outside this file asks for a kernel version. */
#ifndef VIRTIO_IVSHMEM_COMPAT_H
#define VIRTIO_IVSHMEM_COMPAT_H

#include <linux/kconfig.h>
#include <linux/version.h>
#include <linux/virtio_config.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "virtio_ivshmem needs Linux 6.1 or newer"
#endif
#if !IS_ENABLED(CONFIG_AUXILIARY_BUS)
#error "virtio_ivshmem needs a kernel with CONFIG_AUXILIARY_BUS (any driver that uses that bus selects it)"
#endif

/* 6.18: a virtio transport can bring its own mapping operations, on every architecture. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#define HAVE_VIRTIO_MAP_OPS 1
#endif

/*
 * Before that the child device gets DMA operations of its own. set_dma_ops() is an empty function without
 * CONFIG_DMA_OPS, which 6.12 renamed to CONFIG_ARCH_HAS_DMA_OPS; the link's probe looks whether it took effect.
 */

/* 6.11: find_vqs takes an array of struct virtqueue_info; earlier three parallel arrays. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define FIND_VQS_PARAMETERS struct virtqueue_info infos[], struct irq_affinity *affinity
#define FIND_VQS_ARGUMENTS infos, affinity
#define FIND_VQS_NAME(i) (infos[i].name)
#define FIND_VQS_CALLBACK(i) (infos[i].callback)
#define FIND_VQS_CONTEXT(i) (infos[i].ctx)
#else
#define FIND_VQS_PARAMETERS \
	vq_callback_t *callbacks[], const char *const names[], const bool *contexts, struct irq_affinity *affinity
#define FIND_VQS_ARGUMENTS callbacks, names, contexts, affinity
#define FIND_VQS_NAME(i) (names[i])
#define FIND_VQS_CALLBACK(i) (callbacks[i])
#define FIND_VQS_CONTEXT(i) (contexts ? contexts[i] : false)
#endif

/* What the core sets when a driver's probe (or restore) is over, and clears before its remove (or freeze). */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#define DRIVER_IS_SET_UP(vdev) READ_ONCE((vdev)->config_core_enabled)
#else
#define DRIVER_IS_SET_UP(vdev) READ_ONCE((vdev)->config_enabled)
#endif

#endif
