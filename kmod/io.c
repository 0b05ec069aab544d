// SPDX-License-Identifier: GPL-2.0
/*
 * The data path: direct I/O of peer memory, asynchronous for io_uring, synchronous for the ioctl.
 * A bio takes its memory from the table of the buffer, so nothing is looked up or pinned.
 *
 * What has to be given back when the DMA is over is given back by ki_complete, in whatever context
 * that runs: the memory, so that an unbind does not wait for a stopped process, and the freeze
 * protection of the file system, so that FIFREEZE does not. Only the result waits for the
 * submitter's task.
 */

#include <linux/cred.h>
#include <linux/fsnotify.h>
#include <linux/io_uring/cmd.h>
#include <linux/pagemap.h>
#include <linux/percpu.h>
#include <linux/workqueue.h>

#include "internal.h"

/*
 * One I/O under way. Its references are those of the submitter and of the completion: ext4 looks at
 * the kiocb after iomap_dio_rw() has queued it (ext4_dio_read_iter() in fs/ext4/file.c), when io-wq
 * submits and the task may long have seen the result.
 */
struct io {
	struct kiocb kiocb;
	struct work_struct retry;	/* submits it again, where it may sleep */
	struct io_uring_cmd *cmd;	/* pins the pair */
	struct pair *pair;
	struct bio_vec part;		/* see buffer_iter() */
	u64 offset;			/* in the buffer */
	ssize_t result;			/* bytes or -errno, once ki_complete ran */
	u32 length;
	u32 rw;				/* READ or WRITE */
	refcount_t refs;
};

static struct kmem_cache *io_cache;
static struct workqueue_struct *io_workqueue;

/* Begun on one processor, ended on another: only the sum means anything */
static DEFINE_PER_CPU(long, io_count);

u64 io_in_flight(void)
{
	long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(&io_count, cpu));
	return max(sum, 0L);
}

/* What user space asks for, of which it can change nothing any more */
static int io_prepare(struct io *io, struct pair *pair, u32 op, u64 offset, u64 position,
		      u32 length)
{
	bool is_read = op == P2PDMA_USER_READ;

	if (!is_read && op != P2PDMA_USER_WRITE)
		return -EOPNOTSUPP;
	if (!(pair->access & (is_read ? P2PDMA_USER_ACCESS_READ : P2PDMA_USER_ACCESS_WRITE)))
		return -EBADF;
	if (!length || length > P2PDMA_USER_MAX_LENGTH ||
	    !buffer_holds(pair->buffer, offset, length) ||
	    !IS_ALIGNED(offset, pair->memory_align) ||
	    !IS_ALIGNED(position | length, pair->offset_align))
		return -EINVAL;
	init_sync_kiocb(&io->kiocb, pair->target);
	io->kiocb.ki_flags = pair->ki_flags;
	io->kiocb.ki_pos = position;
	io->pair = pair;
	io->offset = offset;
	io->length = length;
	io->rw = is_read ? READ : WRITE;
	return 0;
}

/* --- beginning and ending --- */

/* The memory last: a frozen file system must not keep its provider from being unbound. */
static int io_begin(struct io *io, bool nonblock)
{
	struct inode *inode = file_inode(io->pair->target);
	bool freezable = io->rw == WRITE && S_ISREG(inode->i_mode);

	if (freezable && !nonblock) {
		kiocb_start_write(&io->kiocb);
	} else if (freezable) {
		if (!sb_start_write_trylock(inode->i_sb))
			return -EAGAIN;
		/* As there: it is not this task that will give it back */
		__sb_writers_release(inode->i_sb, SB_FREEZE_WRITE);
	}
	if (!buffer_enter(io->pair->buffer)) {
		if (freezable)
			kiocb_end_write(&io->kiocb);
		return -ENODEV;
	}
	this_cpu_inc(io_count);
	return 0;
}

/* In any context. */
static void io_end(struct io *io)
{
	this_cpu_dec(io_count);
	buffer_leave(io->pair->buffer);
	if (io->rw == WRITE && S_ISREG(file_inode(io->pair->target)->i_mode))
		kiocb_end_write(&io->kiocb);
}

/* --- submission --- */

/*
 * Of a submission that may not sleep: IOCB_NOWAIT says so. Larger I/O of a block device, see struct
 * pair, goes without, or io-wq would do all of it; it sleeps only where the device has no tags
 * left, or for dirty pages in the page cache, and these are looked for here.
 */
static int io_set_nowait(struct io *io)
{
	struct file *target = io->pair->target;
	loff_t position = io->kiocb.ki_pos;

	if (!(target->f_mode & FMODE_NOWAIT))
		return -EAGAIN;
	if (io->length <= io->pair->nowait_length)
		io->kiocb.ki_flags |= IOCB_NOWAIT;
	else if (filemap_range_needs_writeback(target->f_mapping, position,
					       position + io->length - 1))
		return -EAGAIN;
	return 0;
}

/* Looks again at a route that may have changed since it was looked at. */
static int io_check_route(struct pair *pair, bool nonblock)
{
	int rc;

	if (likely(READ_ONCE(pair->generation) == atomic_read(&route_generation)))
		return 0;
	if (nonblock)
		return -EAGAIN;
	rc = route_check(pair);
	return rc >= 0 ? 0 : rc == -ENODEV ? rc : -EREMOTEIO;
}

static ssize_t io_call(struct io *io)
{
	const struct file_operations *fops = io->pair->target->f_op;
	struct iov_iter iter;

	if (!buffer_iter(io->pair->buffer, &iter, &io->part,
			 io->rw == READ ? ITER_DEST : ITER_SOURCE, io->offset, io->length))
		return -ENODEV;
	return io->rw == READ ? fops->read_iter(&io->kiocb, &iter) :
				fops->write_iter(&io->kiocb, &iter);
}

/*
 * Return: -EIOCBQUEUED if ki_complete runs, or ran; -EAGAIN if it had to sleep and must not; else
 * the result.
 */
static ssize_t io_start(struct io *io, bool nonblock)
{
	ssize_t rc;

	rc = rw_verify_area(io->rw, io->pair->target, &io->kiocb.ki_pos, io->length);
	rc = rc ?: io_check_route(io->pair, nonblock);
	io->kiocb.ki_flags &= ~IOCB_NOWAIT;
	if (nonblock)
		rc = rc ?: io_set_nowait(io);
	rc = rc ?: io_begin(io, nonblock);
	if (rc)
		return rc;
	rc = io_call(io);
	if (rc != -EIOCBQUEUED)
		io_end(io);
	return rc;
}

/* --- the result --- */

/*
 * Tells whether the data went through the page cache. For reads the file system clears IOCB_DIRECT.
 * For writes it does not, nor does a block device that could not empty its page cache; but what was
 * written that way is there now, where direct I/O leaves nothing of its range.
 *
 * Not seen is a write whose range somebody kept dirtying by a mapping, so that the cache could not
 * be emptied (-ENOTBLK), if the file system emptied it after the buffered write, as ext4 tries.
 */
static bool io_went_buffered(const struct io *io, ssize_t bytes, bool queued)
{
	loff_t end = io->kiocb.ki_pos;

	if (!(io->kiocb.ki_flags & IOCB_DIRECT))
		return true;
	return io->rw == WRITE && !queued &&
	       filemap_range_has_page(io->pair->target->f_mapping, end - bytes, end - 1);
}

static ssize_t io_conclude(const struct io *io, ssize_t result, bool queued)
{
	if (result <= 0)
		return result;
	if (io->rw == READ)
		fsnotify_access(io->pair->target);
	else
		fsnotify_modify(io->pair->target);
	return io_went_buffered(io, result, queued) ? result | P2PDMA_USER_RESULT_BUFFERED : result;
}

/* IO */
int io_ioctl(struct call *call)
{
	struct p2pdma_user_io *args = call->args;
	struct io io;
	ssize_t rc;

	rc = io_prepare(&io, call->on->private_data, args->op, args->offset, args->position,
			args->length) ?: io_start(&io, false);
	if (rc < 0)
		return rc;
	rc = io_conclude(&io, rc, false);
	args->out_length = rc & ~P2PDMA_USER_RESULT_BUFFERED;
	args->out_flags = rc & P2PDMA_USER_RESULT_BUFFERED ? P2PDMA_USER_IO_BUFFERED : 0;
	return 0;
}

/* --- asynchronous --- */

static void io_put(struct io *io)
{
	if (refcount_dec_and_test(&io->refs))
		kmem_cache_free(io_cache, io);
}

/* In the submitter's task, or in a kernel thread if that is no more. */
static void io_finish(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct io *io = *io_uring_cmd_to_pdu(cmd, struct io *);
	ssize_t result = io_conclude(io, io->result, true);

	io_put(io);
	io_uring_cmd_done(cmd, result, 0, issue_flags);
}

/*
 * In any context. A block device without tags, or frozen, says only now, though perhaps before it
 * was left, that it would have to sleep; so does a file system that met such an extent with others
 * queued already. io_uring cannot be asked to issue the command again.
 */
static void io_complete(struct kiocb *kiocb, long result)
{
	struct io *io = container_of(kiocb, struct io, kiocb);
	bool again = result == -EAGAIN && kiocb->ki_flags & IOCB_NOWAIT;

	io->result = result;
	io_end(io);
	if (again)
		queue_work(io_workqueue, &io->retry);
	else
		io_uring_cmd_do_in_task_lazy(io->cmd, io_finish);
}

/*
 * As whoever opened the target: by this thread's own rights a write would keep the set-user-ID bit.
 * The pair is pinned, as the command may complete and let it go before the file system's function
 * returns.
 */
static void io_retry(struct work_struct *work)
{
	struct io *io = container_of(work, struct io, retry);
	struct file *pair_file = get_file(io->cmd->file);
	const struct cred *own = override_creds(io->pair->target->f_cred);
	ssize_t rc;

	refcount_inc(&io->refs);
	rc = io_start(io, false);
	/* ENODEV says that the file is as it was; of a write, a part may have been queued before */
	if (rc == -ENODEV && io->rw == WRITE)
		rc = -EIO;
	if (rc != -EIOCBQUEUED) {
		io->result = rc;
		io_uring_cmd_do_in_task_lazy(io->cmd, io_finish);
	}
	io_put(io);
	revert_creds(own);
	fput(pair_file);
}

/*
 * Reads each field once: user space shares the submission queue and may change it at any time. When
 * io_uring issues a command again after -EAGAIN, or had a worker issue it from the beginning, there
 * is a copy; but in the former case 6.12 leaves cmd->sqe as it was (io_uring_cmd() in
 * io_uring/uring_cmd.c): in the queue, where the next command may be by now.
 */
static int io_prepare_command(struct io *io, struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	const struct io_uring_sqe *sqe = issue_flags & IO_URING_F_NONBLOCK ?
					 cmd->sqe : cmd_to_io_kiocb(cmd)->async_data;
	const struct p2pdma_user_cmd *args = io_uring_sqe_cmd(sqe);

	if (cmd->flags & IORING_URING_CMD_FIXED || READ_ONCE(sqe->len) ||
	    READ_ONCE(sqe->file_index) || READ_ONCE(sqe->buf_index) || READ_ONCE(args->flags))
		return -EOPNOTSUPP;
	if (issue_flags & IO_URING_F_SQE128 && memchr_inv(sqe + 1, 0, sizeof(*sqe)))
		return -EOPNOTSUPP;
	return io_prepare(io, cmd->file->private_data, cmd->cmd_op, READ_ONCE(sqe->addr),
			  READ_ONCE(args->position), READ_ONCE(args->length));
}

/*
 * IORING_OP_URING_CMD on a pair. Return: -EIOCBQUEUED, -EAGAIN to be called again where it may
 * sleep, or the result.
 */
int io_command(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct io *io = kmem_cache_alloc(io_cache, GFP_KERNEL);
	ssize_t rc;

	if (!io)
		return -ENOMEM;
	refcount_set(&io->refs, 2);
	rc = io_prepare_command(io, cmd, issue_flags);
	if (!rc) {
		io->cmd = cmd;
		*io_uring_cmd_to_pdu(cmd, struct io *) = io;
		INIT_WORK(&io->retry, io_retry);
		io->kiocb.ki_complete = io_complete;
		io->kiocb.ki_flags |= IOCB_ALLOC_CACHE;
		rc = io_start(io, issue_flags & IO_URING_F_NONBLOCK);
	}
	if (rc != -EIOCBQUEUED) {
		rc = io_conclude(io, rc, false);
		io_put(io);	/* the completion's: it does not come */
	}
	io_put(io);
	return rc;
}

int __init io_init(void)
{
	/* Not KMEM_CACHE(): device mapper has a cache named "io" already */
	io_cache = kmem_cache_create("p2pdma_user_io", sizeof(struct io), 0,
				     SLAB_HWCACHE_ALIGN, NULL);
	if (!io_cache)
		return -ENOMEM;
	io_workqueue = alloc_workqueue("p2pdma_user", WQ_UNBOUND, 0);
	if (!io_workqueue)
		kmem_cache_destroy(io_cache);
	return io_workqueue ? 0 : -ENOMEM;
}

void io_exit(void)
{
	destroy_workqueue(io_workqueue);
	kmem_cache_destroy(io_cache);
}
