/* SPDX-License-Identifier: GPL-2.0 */
/* What the stand-in for a GPU driver asks of its dma-bufs. */
#ifndef P2PDMA_TEST_GPU_EXPORT_H
#define P2PDMA_TEST_GPU_EXPORT_H

#include <linux/types.h>

struct dma_buf;
struct pci_dev;

/* The BAR with the memory */
#define GPU_BAR		2

struct dma_buf *gpu_export(struct pci_dev *pdev, u64 offset, u64 length);
int gpu_announce_move(int fd);
int gpu_finish(int fd);
void gpu_count_left(void);

#endif
