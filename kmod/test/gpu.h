/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/* The calls of /dev/p2pdma_test_gpu-ADDRESS. For tests; nothing promises that it stays. */
#ifndef P2PDMA_TEST_GPU_H
#define P2PDMA_TEST_GPU_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct p2pdma_test_gpu_export - a piece of the BAR, in whole pages
 * @offset: where it starts
 * @length: how long it is, in bytes
 */
struct p2pdma_test_gpu_export {
	__u64 offset;
	__u64 length;
};

/* Returns the file descriptor of a dma-buf; EINVAL: no whole pages, or beyond the BAR */
#define P2PDMA_TEST_GPU_EXPORT	_IOW(0xb7, 0x80, struct p2pdma_test_gpu_export)

/* Tells who has attached to the dma-buf, whose fd is the argument, that it moves: pinned or not */
#define P2PDMA_TEST_GPU_MOVE	_IO(0xb7, 0x81)

/* Ends the work on the memory of the dma-buf, whose fd is the argument; EINVAL: there is none */
#define P2PDMA_TEST_GPU_FINISH	_IO(0xb7, 0x82)

/* Returns how many references keep the device from being suspended */
#define P2PDMA_TEST_GPU_AWAKE	_IO(0xb7, 0x83)

#endif
