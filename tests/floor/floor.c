// SPDX-License-Identifier: GPL-2.0-only
/*
 * floor - what no report can leave out, for `make bench`
 *
 *	insmod floor.ko of=tasks	the list of processes: pid, state and name of
 *					each, copied under RCU
 *	insmod floor.ko of=sizes	and its memory counters, exact, under task_lock()
 *	insmod floor.ko of=pages pid= start= end=
 *					each PTE of a range, read once with interrupts
 *					off, and whether it goes on where the one before
 *					it ended
 *
 * It is done when /proc/floor is opened; to read it gives nothing. No answer could be
 * made of what it collects: it has no regard for what else may be met (threads that
 * outlive the first, huge pages, tables that go away), and says nothing when it fails.
 * How much slower the suite is, is what it does with what it found.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/module.h>
#include <linux/pid_namespace.h>
#include <linux/pgtable.h>
#include <linux/proc_fs.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "arch.h"
#include "compat.h"

static char *of = "";
module_param(of, charp, 0400);
MODULE_PARM_DESC(of, "what to walk: tasks, sizes or pages (must be given)");
static int pid;
module_param(pid, int, 0400);
MODULE_PARM_DESC(pid, "pages: pid of the process (1 to 4194304, default none)");
static unsigned long start;
module_param(start, ulong, 0400);
MODULE_PARM_DESC(start, "pages: the first address, that of a page (default 0)");
static unsigned long end;
module_param(end, ulong, 0400);
MODULE_PARM_DESC(end, "pages: the first address behind the last page (default 0)");

struct row {
	pid_t pid;
	unsigned int state;
	char comm[TASK_COMM_LEN];
	unsigned long vsz;
	long counts[NR_MM_COUNTERS];
};

static void copy_sizes(struct row *row, struct task_struct *task)
{
	task_lock(task);
	if (task->mm) {
		row->vsz = task->mm->total_vm;
		mm_counters(task->mm, task, 0, row->counts);
	}
	task_unlock(task);
}

static int walk_tasks(bool sizes)
{
	struct pid_namespace *ns = task_active_pid_ns(current);
	size_t room = ns->pid_allocated & ~PIDNS_ADDING, n = 0;
	struct row *rows = kvmalloc_array(room, sizeof(*rows), GFP_KERNEL);
	struct task_struct *task;

	if (!rows)
		return -ENOMEM;
	rcu_read_lock();
	for_each_process(task) {
		if (n == room)
			break;
		rows[n].pid = pid_nr_ns(task_tgid(task), ns);
		if (!sizes)
			rows[n].state = task_run_state(task);
		memcpy(rows[n].comm, task->comm, TASK_COMM_LEN);
		if (sizes)
			copy_sizes(&rows[n], task);
		n++;
	}
	rcu_read_unlock();
	kvfree(rows);
	return 0;
}

/* How many runs there are in what one table maps, from @va on; interrupts are off. */
static unsigned long walk_table(struct mm_struct *mm, unsigned long va,
				unsigned long behind)
{
	pgd_t *pgd = pgd_offset(mm, va);
	p4d_t *p4d = p4d_offset_lockless(pgd, *pgd, va);
	pud_t *pud = pud_offset_lockless(p4d, *p4d, va);
	pte_t *pte = pte_offset_kernel(pmd_offset_lockless(pud, *pud, va), va);
	unsigned long runs = 0, n = (behind - va) >> PAGE_SHIFT, i;
	u64 next = 0, value;

#pragma GCC unroll 8
	for (i = 0; i < n; i++) {
		value = pte_val(READ_ONCE(pte[i]));
		runs += value != next;
		next = value + FRAME_STEP;
	}
	return runs;
}

static int walk_pages(void)
{
	struct pid *ref = find_get_pid(pid);
	struct task_struct *task = get_pid_task(ref, PIDTYPE_PID);
	struct mm_struct *mm = task ? get_task_mm(task) : NULL;
	unsigned long va, behind, irq, runs = 0;

	for (va = start; mm && va < end; va = behind) {
		behind = min(end, (va | (PMD_SIZE - 1)) + 1);
		mmap_read_lock(mm);
		local_irq_save(irq);
		runs += walk_table(mm, va, behind);
		local_irq_restore(irq);
		mmap_read_unlock(mm);
		cond_resched();
	}
	if (mm)
		mmput(mm);
	if (task)
		put_task_struct(task);
	put_pid(ref);
	return runs ? 0 : -ESRCH;
}

static int floor_open(struct inode *inode, struct file *file)
{
	return strcmp(of, "pages") ? walk_tasks(!strcmp(of, "sizes")) : walk_pages();
}

static ssize_t floor_read(struct file *file, char __user *to, size_t n, loff_t *at)
{
	return 0;
}

static const struct proc_ops floor_ops = {
	.proc_open = floor_open,
	.proc_read = floor_read,
};

static int __init floor_init(void)
{
	return proc_create("floor", 0400, NULL, &floor_ops) ? 0 : -ENOMEM;
}

static void __exit floor_exit(void)
{
	remove_proc_entry("floor", NULL);
}

module_init(floor_init);
module_exit(floor_exit);
MODULE_DESCRIPTION("The least that a report has to do, to measure others by");
MODULE_LICENSE("GPL");
