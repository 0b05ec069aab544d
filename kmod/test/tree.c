// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/p2pdma_test_tree: PCI trees without hardware, and the kernel's verdict
 * on them. For tests.
 *
 * Each open of the device is a tree of its own, which ends when it is closed.
 * Lines are written to it, any number at a time; numbers are hexadecimal:
 *
 *	function DOMAIN:BUS:DEVICE.FUNCTION SIZE OFFSET:VALUE...
 *		a function with SIZE bytes (100 or 1000) of config space: 0 but
 *		for the 32-bit VALUE at each OFFSET. Bridges come configured,
 *		with bus numbers as firmware would give them and windows closed.
 *	host DOMAIN:BUS-LAST [BELOW]
 *		a host bridge with these buses, all its functions given before;
 *		BELOW is the address of a function that it lies below (VMD)
 *	ask PROVIDER CLIENT [verbose]
 *		two addresses, of this tree or not. For each line that was
 *		asked, one is to be read: "DISTANCE MAP_TYPE", in decimal, as of
 *		verdict_ask(). Verbose: the kernel writes to its log as well.
 *
 * A line that cannot be obeyed fails the write; those before it were obeyed.
 */

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>

#include "tree.h"

#define TREE_WRITE_MAX		SZ_1M
#define TREE_ANSWERS_MAX	SZ_64K

static int tree_parse_address(const char *text, struct tree_address *address)
{
	unsigned int domain, bus, device, function;
	int end = 0;

	if (sscanf(text, "%x:%x:%x.%x%n", &domain, &bus, &device, &function, &end) != 4 ||
	    text[end] || domain > INT_MAX || bus > 0xff || device > 0x1f || function > 7)
		return -EINVAL;
	*address = (struct tree_address) { domain, bus, PCI_DEVFN(device, function) };
	return 0;
}

/* The next word of a line; an empty string behind the last */
static const char *tree_word(char **line)
{
	const char *word = strsep(line, " ");

	return word ?: "";
}

static int tree_fill(struct tree_function *function, char *line)
{
	unsigned int offset, value;
	const char *word;
	int end;

	while (*(word = tree_word(&line))) {
		end = 0;
		if (sscanf(word, "%x:%x%n", &offset, &value, &end) != 2 || word[end] ||
		    !IS_ALIGNED(offset, 4) || offset >= function->size)
			return -EINVAL;
		put_unaligned_le32(value, &function->config[offset]);
	}
	return 0;
}

static int tree_function(struct tree *tree, char *line)
{
	struct tree_function *function;
	struct tree_address at;
	unsigned int size;
	int rc;

	if (tree_parse_address(tree_word(&line), &at) ||
	    kstrtouint(tree_word(&line), 16, &size) ||
	    (size != PCI_CFG_SPACE_SIZE && size != PCI_CFG_SPACE_EXP_SIZE))
		return -EINVAL;
	function = kzalloc(struct_size(function, config, size), GFP_KERNEL);
	if (!function)
		return -ENOMEM;
	function->size = size;
	rc = tree_fill(function, line);
	if (!rc)
		rc = xa_insert(&tree->functions, tree_index(at.domain, at.bus, at.devfn),
			       function, GFP_KERNEL);
	if (rc)
		kfree(function);
	return rc;
}

static int tree_host(struct tree *tree, char *line)
{
	const char *buses = tree_word(&line), *parent = tree_word(&line);
	struct tree_address first = {}, below;
	unsigned int domain, bus, last;
	int end = 0;

	if (sscanf(buses, "%x:%x-%x%n", &domain, &bus, &last, &end) != 3 || buses[end] ||
	    domain > INT_MAX || bus > last || last > 0xff)
		return -EINVAL;
	if (*parent && tree_parse_address(parent, &below))
		return -EINVAL;
	first.domain = domain;
	first.bus = bus;
	return tree_host_add(tree, &first, last, *parent ? &below : NULL);
}

static int tree_ask(struct tree *tree, char *line)
{
	struct tree_address provider, client;
	int rc, distance, map_type;
	const char *how;

	if (tree_parse_address(tree_word(&line), &provider) ||
	    tree_parse_address(tree_word(&line), &client))
		return -EINVAL;
	how = tree_word(&line);
	if (*how && strcmp(how, "verbose"))
		return -EINVAL;
	rc = verdict_ask(&provider, &client, *how, &distance, &map_type);
	if (rc)
		return rc;
	return seq_buf_printf(&tree->answers, "%d %d\n", distance, map_type) ? -ENOSPC : 0;
}

static int tree_obey(struct tree *tree, char *line)
{
	const char *order = tree_word(&line);

	if (!*order)
		return 0;
	if (!strcmp(order, "function"))
		return tree_function(tree, line);
	if (!strcmp(order, "host"))
		return tree_host(tree, line);
	if (!strcmp(order, "ask"))
		return tree_ask(tree, line);
	return -EINVAL;
}

static int tree_open(struct inode *inode, struct file *file)
{
	struct tree *tree = kzalloc(sizeof(*tree), GFP_KERNEL);
	char *answers = kvmalloc(TREE_ANSWERS_MAX, GFP_KERNEL);

	if (!tree || !answers) {
		kvfree(answers);
		kfree(tree);
		return -ENOMEM;
	}
	mutex_init(&tree->lock);
	xa_init(&tree->functions);
	INIT_LIST_HEAD(&tree->hosts);
	seq_buf_init(&tree->answers, answers, TREE_ANSWERS_MAX);
	file->private_data = tree;
	return stream_open(inode, file);
}

static int tree_release(struct inode *inode, struct file *file)
{
	struct tree *tree = file->private_data;
	struct tree_function *function;
	struct tree_host *host, *next;
	unsigned long index;

	list_for_each_entry_safe(host, next, &tree->hosts, link)
		tree_host_remove(host);
	xa_for_each(&tree->functions, index, function)
		kfree(function);
	xa_destroy(&tree->functions);
	mutex_destroy(&tree->lock);
	kvfree(tree->answers.buffer);
	kfree(tree);
	return 0;
}

static ssize_t tree_write(struct file *file, const char __user *from, size_t len,
			  loff_t *pos)
{
	struct tree *tree = file->private_data;
	char *text, *rest, *line;
	int rc = 0;

	if (len > TREE_WRITE_MAX)
		return -E2BIG;
	text = memdup_user_nul(from, len);
	if (IS_ERR(text))
		return PTR_ERR(text);
	rest = text;
	mutex_lock(&tree->lock);
	while (!rc && (line = strsep(&rest, "\n")))
		rc = tree_obey(tree, line);
	mutex_unlock(&tree->lock);
	kfree(text);
	return rc ?: len;
}

static ssize_t tree_read(struct file *file, char __user *to, size_t len, loff_t *pos)
{
	struct tree *tree = file->private_data;
	struct seq_buf *answers = &tree->answers;

	mutex_lock(&tree->lock);
	len = min(len, seq_buf_used(answers));
	if (copy_to_user(to, answers->buffer, len)) {
		len = -EFAULT;
	} else {
		answers->len = seq_buf_used(answers) - len;
		memmove(answers->buffer, answers->buffer + len, answers->len);
	}
	mutex_unlock(&tree->lock);
	return len;
}

static const struct file_operations tree_fops = {
	.owner		= THIS_MODULE,
	.open		= tree_open,
	.release	= tree_release,
	.read		= tree_read,
	.write		= tree_write,
};

static struct miscdevice tree_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= KBUILD_MODNAME,
	.fops	= &tree_fops,
	.mode	= 0600,
};

static int __init tree_init(void)
{
	int rc = verdict_init();

	if (rc)
		return rc;
	rc = misc_register(&tree_device);
	if (rc)
		verdict_exit();
	return rc;
}
module_init(tree_init);

static void __exit tree_exit(void)
{
	misc_deregister(&tree_device);
	verdict_exit();
}
module_exit(tree_exit);

MODULE_DESCRIPTION("PCI trees made of memory, for tests of peer-to-peer DMA");
MODULE_LICENSE("GPL");
