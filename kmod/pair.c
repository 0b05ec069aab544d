// SPDX-License-Identifier: GPL-2.0
/*
 * Pairs: a buffer bound to an open file. What decides whether data may go between the two is asked
 * here, once, and not for each I/O.
 *
 * The kernel checks less than usual on this way: bio_iov_iter_get_pages() in block/bio.c takes the
 * pages of a bio_vec for any queue, as it trusts its callers in the kernel. So it is for us to
 * refuse queues that do not know peer memory, and files that lie on devices we do not know of.
 */

#include <linux/blk-integrity.h>
#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/fileattr.h>
#include <linux/magic.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/stat.h>

#include "internal.h"

/* fs/xfs/libxfs/xfs_format.h has it, include/ does not */
#define XFS_SUPER_MAGIC	0x58465342

static atomic_long_t pair_total = ATOMIC_LONG_INIT(0);

u64 pair_count(void)
{
	return atomic_long_read(&pair_total);
}

/* --- the policy --- */

static int pair_check_file(const struct file *target)
{
	umode_t mode = file_inode(target)->i_mode;

	if (!S_ISREG(mode) && !S_ISBLK(mode))
		return -EINVAL;
	if (!(target->f_flags & O_DIRECT) || target->f_flags & O_APPEND)
		return -EINVAL;
	if (!(target->f_mode & FMODE_CAN_ODIRECT))
		return -EOPNOTSUPP;
	return 0;
}

/*
 * Files of these file systems lie on one device, sb->s_bdev, but for xfs files on a real-time
 * device. Others have several, or their checksums make the processor read all data. Into holes of a
 * file without extents ext4 writes by the page cache, and leaves no trace of that.
 */
static int pair_check_filesystem(const struct file *target)
{
	struct inode *inode = file_inode(target);
	struct fileattr attributes = {};
	bool is_xfs = inode->i_sb->s_magic == XFS_SUPER_MAGIC, usable;
	int rc;

	if (IS_DAX(inode) || IS_ENCRYPTED(inode) || !inode->i_sb->s_bdev ||
	    (!is_xfs && inode->i_sb->s_magic != EXT4_SUPER_MAGIC))
		return -EOPNOTSUPP;
	rc = vfs_fileattr_get(target->f_path.dentry, &attributes);
	if (rc)
		return rc;
	usable = is_xfs ? !(attributes.fsx_xflags & FS_XFLAG_REALTIME) :
			  attributes.flags & FS_EXTENT_FL;
	return usable ? 0 : -EOPNOTSUPP;
}

/* Memory alignment 0 is the file system's word for no direct I/O. */
static int pair_align_as_file(struct pair *pair)
{
	struct kstat stat = {};
	int rc;

	rc = vfs_getattr_nosec(&pair->target->f_path, &stat, STATX_DIOALIGN, 0);
	if (rc)
		return rc;
	if (!(stat.result_mask & STATX_DIOALIGN) || !stat.dio_mem_align || !stat.dio_offset_align)
		return -EOPNOTSUPP;
	pair->nowait_length = P2PDMA_USER_MAX_LENGTH;
	pair->memory_align = stat.dio_mem_align;
	pair->offset_align = stat.dio_offset_align;
	return 0;
}

/*
 * A block device that is told not to sleep refuses each bio that it must split, so it is told only
 * where one request will do: for the longest that fits whatever pages it has.
 */
static void pair_align_as_device(struct pair *pair)
{
	struct request_queue *queue = bdev_get_queue(pair->bdev);
	u64 pages = (u64)queue_max_segments(queue) << PAGE_SHIFT;
	u64 chunk = (u64)queue->limits.chunk_sectors << SECTOR_SHIFT ?: U32_MAX;

	pair->nowait_length = min3(pages, chunk, (u64)queue_max_bytes(queue));
	pair->memory_align = bdev_dma_alignment(pair->bdev) + 1;
	pair->offset_align = bdev_logical_block_size(pair->bdev);
}

/* Checksums that the processor makes or verifies would have it read all data from the device. */
static bool pair_has_checksums(const struct block_device *bdev)
{
	const u8 off = BLK_INTEGRITY_NOVERIFY | BLK_INTEGRITY_NOGENERATE;
	const struct blk_integrity *profile = blk_get_integrity(bdev->bd_disk);

	return profile && profile->csum_type != BLK_INTEGRITY_CSUM_NONE &&
	       (profile->flags & off) != off;
}

/* Return: the kernel's distance, or a negative errno. */
static int pair_check(struct pair *pair)
{
	struct file *target = pair->target;
	int rc;

	rc = pair_check_file(target);
	if (rc)
		return rc;
	if (S_ISBLK(file_inode(target)->i_mode)) {
		pair->bdev = file_bdev(target);
		pair_align_as_device(pair);
	} else {
		pair->bdev = file_inode(target)->i_sb->s_bdev;
		rc = pair_check_filesystem(target) ?: pair_align_as_file(pair);
		if (rc)
			return rc;
	}
	return pair_has_checksums(pair->bdev) ? -EOPNOTSUPP : route_check(pair);
}

/* What I/O needs of the target's flags: fcntl() may change them at any time. */
static void pair_take_modes(struct pair *pair)
{
	struct file *target = pair->target;

	pair->ki_flags = IOCB_DIRECT | (iocb_flags(target) & (IOCB_DSYNC | IOCB_SYNC));
	if (target->f_mode & FMODE_READ && target->f_mode & FMODE_CAN_READ &&
	    !pair->buffer->readonly)
		pair->access |= P2PDMA_USER_ACCESS_READ;
	if (target->f_mode & FMODE_WRITE && target->f_mode & FMODE_CAN_WRITE)
		pair->access |= P2PDMA_USER_ACCESS_WRITE;
}

/* --- making and ending --- */

/* Takes over the reference to @target. */
static struct pair *pair_new(struct file *buffer_file, struct file *target)
{
	struct pair *pair = kzalloc(sizeof(*pair), GFP_KERNEL_ACCOUNT);

	if (!pair) {
		fput(target);
		return ERR_PTR(-ENOMEM);
	}
	pair->buffer = buffer_file->private_data;
	pair->buffer_file = get_file(buffer_file);
	pair->target = target;
	pair_take_modes(pair);
	atomic_long_inc(&pair_total);
	return pair;
}

static void pair_free(struct pair *pair)
{
	fput(pair->target);
	fput(pair->buffer_file);
	kfree(pair);
	atomic_long_dec(&pair_total);
}

/* --- the fd --- */

static const struct call_op pair_ops[] = {
	CALL_OP(P2PDMA_USER_IO, p2pdma_user_io, io_ioctl, false),
};

static long pair_ioctl(struct file *filp, unsigned int number, unsigned long arg)
{
	return call_dispatch(pair_ops, ARRAY_SIZE(pair_ops), filp, number, arg);
}

static int pair_release(struct inode *inode, struct file *filp)
{
	pair_free(filp->private_data);
	return 0;
}

static const struct file_operations pair_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = pair_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.uring_cmd = io_command,
	.release = pair_release,
};

/* BIND */
int pair_bind(struct call *call)
{
	struct p2pdma_user_bind *args = call->args;
	struct file *target = fget(args->fd);
	struct pair *pair;
	int distance, rc;

	if (!target)
		return -EBADF;
	pair = pair_new(call->filp, target);
	if (IS_ERR(pair))
		return PTR_ERR(pair);
	distance = pair_check(pair);
	rc = distance < 0 ? distance :
	     call_open(call, "[p2pdma_user_pair]", &pair_fops, pair);
	if (rc) {
		pair_free(pair);
		return rc;
	}
	args->out_fd = call->fd;
	args->out_access = pair->access;
	args->out_memory_align = pair->memory_align;
	args->out_offset_align = pair->offset_align;
	args->out_distance = distance;
	return 0;
}
