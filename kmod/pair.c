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
#include <linux/fileattr.h>
#include <linux/magic.h>
#include <linux/stat.h>

#include "internal.h"

/* fs/xfs/libxfs/xfs_format.h has it, include/ does not */
#define XFS_SUPER_MAGIC	0x58465342

atomic_long_t pair_count = ATOMIC_LONG_INIT(0);

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
	int rc = vfs_getattr_nosec(&pair->target->f_path, &stat, STATX_DIOALIGN, 0);

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
	const struct file *target = pair->target;
	const struct inode *inode = file_inode(target);
	int rc;

	if ((!S_ISREG(inode->i_mode) && !S_ISBLK(inode->i_mode)) ||
	    !(target->f_flags & O_DIRECT) || target->f_flags & O_APPEND)
		return -EINVAL;
	if (!(target->f_mode & FMODE_CAN_ODIRECT))
		return -EOPNOTSUPP;
	if (S_ISBLK(inode->i_mode)) {
		pair->bdev = file_bdev(pair->target);
		pair_align_as_device(pair);
	} else {
		pair->bdev = inode->i_sb->s_bdev;
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

static void pair_free(struct pair *pair)
{
	fput(pair->target);
	fput(pair->buffer_file);
	kfree(pair);
	atomic_long_dec(&pair_count);
}

static int pair_release(struct inode *inode, struct file *filp)
{
	pair_free(filp->private_data);
	return 0;
}

const struct file_operations pair_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = call_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.uring_cmd = io_command,
	.release = pair_release,
};

/* BIND */
int pair_bind(struct call *call)
{
	struct p2pdma_user_bind *args = call->args;
	struct file *target __free(fput) = fget(args->fd);
	struct pair *pair;
	int rc;

	if (!target)
		return -EBADF;
	pair = kzalloc(sizeof(*pair), GFP_KERNEL_ACCOUNT);
	if (!pair)
		return -ENOMEM;
	atomic_long_inc(&pair_count);
	pair->buffer = call->on->private_data;
	pair->buffer_file = get_file(call->on);
	pair->target = get_file(target);
	pair_take_modes(pair);
	args->out_distance = pair_check(pair);
	args->out_access = pair->access;
	args->out_memory_align = pair->memory_align;
	args->out_offset_align = pair->offset_align;
	rc = args->out_distance < 0 ? args->out_distance :
	     call_open(call, "[p2pdma_user_pair]", &pair_fops, pair);
	if (rc)
		pair_free(pair);
	args->out_fd = call->fd;
	return rc;
}
