// SPDX-License-Identifier: GPL-2.0-only
/*
 * planted - bugs of the kinds that the debug kernels are there to find
 *
 *	insmod planted.ko bug=NAME [pid=PID]
 *
 * Each of them is one that a module of this suite could have. tests/planted.py
 * has every one seen; a module without any (bug=none) must pass.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/mmap_lock.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/processor.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

static char *bug = "none";
module_param(bug, charp, 0400);
MODULE_PARM_DESC(bug, "which one");

static int pid;
module_param(pid, int, 0400);
MODULE_PARM_DESC(pid, "of the task whose reference is kept");

static char *volatile room;
static volatile char seen;

static int none(void)
{
	return 0;
}

static int use_after_free(void)
{
	room = kmalloc(64, GFP_KERNEL);
	if (!room)
		return -ENOMEM;
	kfree(room);
	seen = *room;
	return 0;
}

static int beyond_the_end(void)
{
	room = kmalloc(64, GFP_KERNEL);
	if (!room)
		return -ENOMEM;
	seen = room[64];
	kfree(room);
	return 0;
}

static int sleep_under_rcu(void)
{
	rcu_read_lock();
	mmap_read_lock(current->mm);
	mmap_read_unlock(current->mm);
	rcu_read_unlock();
	return 0;
}

static int no_rcu(void)
{
	return rcu_dereference(current->real_parent) == current;
}

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);

static int lock_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);

	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
	return 0;
}

static int lock_kept(void)
{
	mutex_lock(&first);
	return 0;
}

/*
 * The addresses of the last ones are left on stacks and in the allocator's own
 * lists, where they count as known.
 */
static int leaked_memory(void)
{
	int i;

	for (i = 0; i < 1000; i++)
		room = kmalloc(64, GFP_KERNEL);
	room = NULL;
	return 0;
}

static int leaked_task(void)
{
	struct pid *found = find_get_pid(pid);
	struct task_struct *task = get_pid_task(found, PIDTYPE_PID);

	put_pid(found);
	return task ? 0 : -ESRCH;
}

static int one_put_too_many(void)
{
	struct pid *found = find_get_pid(pid);

	put_pid(found);
	put_pid(found);
	return 0;
}

static int wide_shift(void)
{
	unsigned int by = 32 + pid;

	seen = 1 << by;
	return 0;
}

static int contended;

static int count_up(void *unused)
{
	while (!kthread_should_stop()) {
		contended++;
		cpu_relax();	/* what the compiler keeps is no race */
	}
	return 0;
}

static int unlocked(void)
{
	struct task_struct *writer = kthread_run(count_up, NULL, "planted");
	unsigned long end = jiffies + 5 * HZ;

	if (IS_ERR(writer))
		return PTR_ERR(writer);
	while (time_before(jiffies, end)) {
		seen = contended;
		cpu_relax();
	}
	return kthread_stop(writer);
}

static const struct {
	const char *name;
	int (*plant)(void);
} bugs[] = {
	{ "none", none },
	{ "use_after_free", use_after_free },
	{ "beyond_the_end", beyond_the_end },
	{ "sleep_under_rcu", sleep_under_rcu },
	{ "no_rcu", no_rcu },
	{ "lock_order", lock_order },
	{ "lock_kept", lock_kept },
	{ "leaked_memory", leaked_memory },
	{ "leaked_task", leaked_task },
	{ "one_put_too_many", one_put_too_many },
	{ "wide_shift", wide_shift },
	{ "data_race", unlocked },
};

static int __init planted_init(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bugs); i++)
		if (!strcmp(bug, bugs[i].name))
			return bugs[i].plant();
	return -EINVAL;
}

static void __exit planted_exit(void)
{
}

module_init(planted_init);
module_exit(planted_exit);

MODULE_DESCRIPTION("Bugs that the tests must see");
MODULE_LICENSE("GPL");
