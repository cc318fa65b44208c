/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * owners.h - lkm4 with phys=: who maps a physical address
 *
 *	PHYSICAL ADDRESS 205018abc | PID: 42 | PROCESS: x | VA 7f2878000abc | rw- | 4 kB page
 *	MAPPINGS = 1
 *
 *	owners_start()	the list of all processes
 *	owners_next()	the next row: a mapping, or their number
 *	owners_print()	that row
 *	owners_drop()	what owners_start() took
 *
 * The kernel's own way back, from a page to the mappings of it, is not for
 * modules, and knows only pages that it manages. So the page tables of every
 * process are walked as a range of lkm4's is, look by look: nothing is locked for
 * longer. What is mapped or unmapped meanwhile may be missing, or may have gone.
 *
 * Processes that share an address space are shown once, by the lowest pid. One
 * that maps the page twice has two rows. The rights are the mapping's, as in
 * /proc/PID/maps: a page that waits to be copied when written to shows rw-.
 */
#ifndef LKM_OWNERS_H
#define LKM_OWNERS_H

#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/pid_namespace.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "report.h"
#include "walk.h"

/**
 * struct owners - the search for the mappings of a physical address
 * @phys: the address
 * @is_memory: whether it is one of System RAM, as /proc/iomem says
 * @ns: whose pids are shown
 * @pids: of the processes there were at the start, in the order of the task list
 * @n: how many
 * @i: which comes next
 * @mm: the address space that is being searched, held by mmgrab(); NULL: none
 * @pid: of the process it belongs to
 * @comm: and its name
 * @va: the first address not looked at yet
 * @look: the last look
 * @hit: the address that leads to @phys; its @to is where
 * @flags: of the mapping that it is in
 * @mappings: how many were found
 * @done: all were: the row is their number
 * @row: number of the row, from 0; -1: none yet
 */
struct owners {
	phys_addr_t phys;
	bool is_memory;
	struct pid_namespace *ns;
	pid_t *pids;
	size_t n;
	size_t i;
	struct mm_struct *mm;
	pid_t pid;
	char comm[TASK_COMM_LEN];
	unsigned long va;
	struct look *look;
	struct stretch hit;
	unsigned long flags;
	unsigned long mappings;
	bool done;
	loff_t row;
};

/* ---- processes -------------------------------------------------------- */

/* copy_pids() - how many processes there are; the first @room pids are copied */
static inline size_t copy_pids(struct facts *facts, void *rows, size_t room)
{
	struct pid_namespace *ns = task_active_pid_ns(current);
	struct task_struct *process;
	pid_t *pids = rows, pid;
	size_t n = 0;

	rcu_read_lock();
	for_each_process(process) {
		pid = process_pid(process, ns);
		if (!pid || process->flags & PF_KTHREAD)
			continue;
		if (n < room)
			pids[n] = pid;
		n++;
	}
	rcu_read_unlock();
	return n;
}

/*
 * Whether a process with a lower pid uses the address space, too (vfork, or
 * CLONE_VM without CLONE_THREAD). All tasks must be asked, but only when there
 * are users of it that are not threads of this process.
 */
static inline bool is_anothers(struct mm_struct *mm, struct task_struct *task,
			       const struct owners *owners)
{
	int users = atomic_read(&mm->mm_users) - 1;	/* ours */
	struct task_struct *process, *thread;
	bool found = false;
	pid_t pid;

	rcu_read_lock();
	for_each_thread(task, thread)
		users -= READ_ONCE(thread->mm) == mm;
	if (users <= 0)
		goto unlock;
	for_each_process_thread(process, thread) {
		if (READ_ONCE(thread->mm) != mm || thread->flags & PF_KTHREAD)
			continue;
		pid = process_pid(thread, owners->ns);
		found = pid && pid < owners->pid;
		if (found)	/* mostly soon: the list is in order of age */
			goto unlock;
	}
unlock:
	rcu_read_unlock();
	return found;
}

/* The next process becomes the one that is searched, if it has memory. */
static inline void owners_open(struct owners *owners)
{
	struct task_struct *task;
	struct mm_struct *mm;

	owners->pid = owners->pids[owners->i++];
	rcu_read_lock();
	task = pid_task(find_pid_ns(owners->pid, owners->ns), PIDTYPE_TGID);
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	if (!task)
		return;
	mm = get_process_mm(task);
	if (mm && !is_anothers(mm, task, owners)) {
		mmgrab(mm);
		owners->mm = mm;
		owners->va = 0;
		owners->look->end = 0;
		copy_name(owners->comm, task);
	}
	if (mm)
		mmput(mm);
	put_task_struct(task);
}

static inline void owners_close(struct owners *owners)
{
	if (owners->mm)
		mmdrop(owners->mm);
	owners->mm = NULL;
}

static inline void owners_rewind(struct owners *owners)
{
	owners_close(owners);
	owners->i = 0;
	owners->mappings = 0;
	owners->done = false;
	owners->row = -1;
}

/**
 * owners_start() - begin to search
 * @owners: zeroed, but for its @phys
 * @facts: the report's
 *
 * Return: 0 or -ENOMEM; owners_drop() is to be called in either case.
 */
static inline int owners_start(struct owners *owners, struct facts *facts)
{
	owners->look = kvzalloc(sizeof(*owners->look), GFP_REPORT);
	if (!owners->look)
		return -ENOMEM;
	owners->pids = copy_rows(facts, copy_pids, sizeof(pid_t), &owners->n);
	if (!owners->pids)
		return -ENOMEM;
	owners->ns = get_pid_ns(task_active_pid_ns(current));
	owners->is_memory = page_is_ram(PHYS_PFN(owners->phys));
	owners_rewind(owners);
	return 0;
}

static inline void owners_drop(struct owners *owners)
{
	owners_close(owners);
	if (owners->ns)
		put_pid_ns(owners->ns);
	kvfree(owners->pids);
	kvfree(owners->look);
}

/* ---- collect ---------------------------------------------------------- */

/*
 * If one of the addresses that an entry speaks for leads to @phys, @hit becomes
 * that one. Return: whether it has.
 */
static inline bool take_hit(struct stretch *hit, phys_addr_t phys)
{
	phys_addr_t first = hit->to.phys;

	if (hit->to.verdict != MAPPED || phys < first ||
	    phys - first >= hit->end - hit->va)
		return false;
	hit->va += phys - first;
	hit->to.phys = phys;
	return true;
}

/*
 * Return: 1 with the next mapping of the process; 0 when it has no more; or an
 * errno.
 */
static inline int next_mapping(struct owners *owners)
{
	struct stretch *hit = &owners->hit;
	unsigned long end = owners->mm->task_size;
	int err;

	for (;;) {
		while (look_next(owners->look, owners->va, hit)) {
			owners->va = hit->end;
			if (take_hit(hit, owners->phys))
				return 1;
		}
		if (owners->va >= end)
			return 0;
		err = look_at(owners->mm, owners->va, end, owners->look);
		if (err)
			/* A process that has ended maps nothing any more. */
			return err == -ESRCH ? 0 : err;
	}
}

/**
 * owners_next() - make a row
 * @owners: the search
 * @row: its number: that of the row before and one, the same, or 0; behind the end,
 *       or an error, also a later one
 *
 * Return: 1 when there is one, 0 when not, or -EINTR.
 */
static inline int owners_next(struct owners *owners, loff_t row)
{
	int found = 0;

	if (row == owners->row)
		return 1;
	if (!row)
		owners_rewind(owners);
	if (owners->done)
		return 0;
	owners->row = -1;	/* what was the row is overwritten now */
	while (!found && (owners->mm || owners->i < owners->n)) {
		/* Not all processes have memory of their own to be searched. */
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		if (!owners->mm)
			owners_open(owners);
		if (owners->mm)
			found = next_mapping(owners);
		if (!found)
			owners_close(owners);
	}
	if (found < 0)
		return found;
	owners->flags = owners->look->map.flags;
	owners->mappings += found;
	owners->done = !found;
	owners->row = row;
	return 1;
}

/* ---- print ------------------------------------------------------------ */

/* owners_print() - write the row that owners_next() has made */
static inline void owners_print(struct out *out, const struct owners *owners)
{
	char name[SAFE_NAME_LEN], may[RIGHTS_LEN], size[SIZE_LEN];

	if (owners->done)
		report_line(out, "MAPPINGS = %lu%s", owners->mappings,
			    owners->is_memory ? "" : " | not memory");
	else
		report_line(out, "PHYSICAL ADDRESS %llx | PID: %d | PROCESS: %s | VA %lx | %.3s | %s page",
			    (u64)owners->phys, owners->pid,
			    safe_name(name, owners->comm), owners->hit.va,
			    rights(may, owners->flags),
			    size_name(size, owners->hit.to.size));
}

#endif /* LKM_OWNERS_H */
