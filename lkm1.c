// SPDX-License-Identifier: GPL-2.0-only
/*
 * lkm1 - every process
 *
 *	sudo insmod lkm1.ko; sudo dmesg -T | tail; sudo rmmod lkm1
 *
 * prints a line for each process, or with threads=1 for each thread, and
 * then how many there are in each state:
 *
 *	PID: 1 | PROCESS: systemd | STATE: 1 (S) | PPID: 0 | THREADS: 1
 *	PROCESSES: 1 | THREADS: 1 | R 0 | S 1 | D 0 | T 0 | ...
 *
 * From: the list of processes that starts at init_task (struct task_struct:
 *	tasks, signal->thread_head, comm, __state and exit_state, real_parent,
 *	flags & PF_KTHREAD; struct signal_struct: nr_threads). Pids are those of
 *	the reader's pid namespace, and tasks that have none there are left out.
 * Under: RCU, which keeps every task on the list from being freed while we copy
 *	from it. It does not stop the clock: the list is what it was over the few
 *	microseconds of the walk, not at one instant.
 * By hand: ps -e -o pid,comm,stat,ppid,nlwp; with threads=1: ps -eL.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/pid_namespace.h>

#include "report.h"

PARAM(threads, "1: a line for each thread, not only for each process (0 or 1, default 0)");

/* What the line of one process or thread says. */
struct row {
	pid_t pid;
	pid_t tid;
	pid_t ppid;
	int threads;		/* of the whole process */
	unsigned int state;
	bool kernel;
	char comm[TASK_COMM_LEN];
};

#define STATES "RSDTtXZPI"	/* in the order of task_index_to_char() */

struct facts {
	bool each_thread;
	struct row *rows;
	size_t n;
	unsigned long processes;
	unsigned long threads;
	unsigned long in_state[sizeof(STATES) - 1];
};

static int ask(struct facts *facts)
{
	struct param threads;

	kernel_param_lock(THIS_MODULE);
	threads = threads_param;
	kernel_param_unlock(THIS_MODULE);
	return param_flag(&threads, "threads", false, &facts->each_thread);
}

/* Whether the task has a pid in the namespace; its figures are in @row then. */
static bool copy_task(struct row *row, struct task_struct *task,
		      const struct facts *facts, struct pid_namespace *ns)
{
	row->pid = process_pid(task, ns);
	row->tid = facts->each_thread ? pid_nr_ns(task_pid(task), ns) : row->pid;
	/* The pointer of one that has been taken off the list leads nowhere. */
	row->ppid = pid_alive(task) ?
		    process_pid(rcu_dereference(task->real_parent), ns) : 0;
	row->threads = get_nr_threads(task);
	row->state = task_state(task);
	row->kernel = task->flags & PF_KTHREAD;
	copy_name(row->comm, task);
	return row->pid && row->tid;
}

static size_t copy_tasks(struct facts *facts, void *rows, size_t room)
{
	struct pid_namespace *ns = task_active_pid_ns(current);
	struct task_struct *process, *thread;
	struct row *list = rows;
	size_t n = 0, before;

	facts->processes = 0;
	rcu_read_lock();
	for_each_process(process) {
		before = n;
		if (facts->each_thread)
			for_each_thread(process, thread)
				n += n >= room || copy_task(&list[n], thread, facts, ns);
		else	/* not its first thread: for a moment of exec() that is another */
			n += n >= room || copy_task(&list[n], process, facts, ns);
		/* One that has just lost its pid has no line. */
		facts->processes += n > before;
	}
	rcu_read_unlock();
	return n;
}

static void count_states(struct facts *facts)
{
	const struct row *row;

	BUILD_BUG_ON(TASK_REPORT_MAX * 2 != 1 << (sizeof(STATES) - 1));
	for (row = facts->rows; row < facts->rows + facts->n; row++) {
		facts->in_state[__task_state_index(row->state, 0)]++;
		facts->threads += facts->each_thread ? 1 : row->threads;
	}
}

static int collect(struct facts *facts)
{
	facts->rows = copy_rows(facts, copy_tasks, sizeof(*facts->rows), &facts->n);
	if (!facts->rows)
		return -ENOMEM;
	count_states(facts);
	return 0;
}

static void drop(struct facts *facts)
{
	kvfree(facts->rows);
}

static int next(struct facts *facts, loff_t row)
{
	return row <= facts->n;
}

static void print_totals(struct out *out, const struct facts *facts)
{
	char states[128];
	int i, len = 0;

	for (i = 0; STATES[i]; i++)
		len += scnprintf(states + len, sizeof(states) - len, " | %c %lu",
				 STATES[i], facts->in_state[i]);
	report_line(out, "PROCESSES: %lu | THREADS: %lu%s",
		    facts->processes, facts->threads, states);
}

static void print_row(struct out *out, const struct facts *facts,
		      const struct row *row)
{
	char *to = put_process(line_begin(out), row->pid, row->comm);

	to = put_decimal(put_text(to, " | STATE: "), row->state);
	to = put_char(put_text(to, " ("), state_letter(row->state));
	to = put_decimal(put_text(to, ") | PPID: "), row->ppid);
	to = put_decimal(put_text(to, " | THREADS: "), row->threads);
	if (row->kernel)
		to = put_text(to, " | KERNEL");
	if (facts->each_thread)
		to = put_decimal(put_text(to, " | TID: "), row->tid);
	line_end(out, to);
}

static void print(struct out *out, const struct facts *facts, loff_t row)
{
	if (row < facts->n)
		print_row(out, facts, &facts->rows[row]);
	else
		print_totals(out, facts);
}

static const struct report report = {
	.facts_size = sizeof(struct facts),
	.ask = ask,
	.collect = collect,
	.next = next,
	.print = print,
	.drop = drop,
	.loaded = "Listing process kernel module loaded",
	.removed = "PS module removed,Bye !!",
};

static int __init lkm1_init(void)
{
	return report_load();
}

static void __exit lkm1_exit(void)
{
	report_unload();
}

module_init(lkm1_init);
module_exit(lkm1_exit);
MODULE_DESCRIPTION("Lists every process, or every thread, with its state");
MODULE_LICENSE("GPL");
