// SPDX-License-Identifier: GPL-2.0-only
/*
 * lkm3 - the kernel stack pointer of a task
 *
 *	sudo insmod lkm3.ko pid=1; sudo dmesg -T | tail; sudo rmmod lkm3
 *
 * prints where the kernel stack of a task lies, where on it the task stopped
 * when it last left the CPU, and how much of it that leaves:
 *
 *	PID: 1 | PROCESS: systemd | STATE: 1 (S) | STACK TOP FROM TASK->STACK: ffff... | CURRENT STACK POINTER THREAD.SP ffff...
 *	STACK SIZE = 16384 | IN USE = 896 | FREE = 15488 | END MAGIC = intact
 *
 * task->stack is the *lowest* address of the stack, which grows down towards
 * it; "top" is the old word. At that end lies STACK_END_MAGIC, and a stack that
 * ran over has overwritten it. A task that is on a CPU uses its real stack
 * pointer, and the saved one is of no use. A zombie has no stack any more:
 * the addresses are 0 and the rest is unknown.
 *
 * From: task_struct: stack, on_cpu; the saved pointer: thread.sp on x86-64 and
 *	riscv64, thread.cpu_context.sp on arm64.
 * Under: a reference to the task. It keeps the task_struct, but not the stack,
 *	and a module has no way to pin that (put_task_stack() is not exported;
 *	never take what you cannot put). So nothing on the stack is touched but by
 *	a copy that may fault, and task->stack is looked at again afterwards.
 * By hand: addresses have no other source in user space. tests/lkm3.py reads the
 *	guest's memory from outside and finds what switch_to() left on the stack
 *	of a task that has run before: on x86-64 at SP + 48, on arm64 at SP + 8
 *	the return address into __schedule() (on arm64 its upper bits may be a
 *	signature of it: pointer authentication). On riscv64 that one is kept in
 *	thread.ra; the first on the stack is into schedule(), at the end of
 *	__schedule()'s frame.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/sched/task_stack.h>
#include <linux/uaccess.h>

#include "arch.h"
#include "report.h"

PARAM(pid, "pid or tid of the task (1 to 4194304, default 1)");

#define NOT_RUNNING -1

enum magic { MAGIC_UNKNOWN, MAGIC_INTACT, MAGIC_OVERRUN };

struct facts {
	pid_t pid;
	unsigned int state;
	int cpu;		/* or NOT_RUNNING */
	unsigned long stack;	/* 0: gone */
	unsigned long sp;
	enum magic magic;
	char comm[TASK_COMM_LEN];
};

static int ask(struct facts *facts)
{
	struct param pid;

	kernel_param_lock(THIS_MODULE);
	pid = pid_param;
	kernel_param_unlock(THIS_MODULE);
	return param_pid(&pid, 1, &facts->pid);
}

static int running_on(struct task_struct *task)
{
#ifdef CONFIG_SMP
	return READ_ONCE(task->on_cpu) ? task_cpu(task) : NOT_RUNNING;
#else
	return task == current ? 0 : NOT_RUNNING;
#endif
}

/* A stack that goes while we look may be another's by the time it is read. */
static enum magic check_end(struct task_struct *task, unsigned long stack)
{
	unsigned long end;

	if (!stack)
		return MAGIC_UNKNOWN;
	/* end_of_stack() would read task->stack again: the magic lies there. */
	if (copy_from_kernel_nofault(&end, (void *)stack, sizeof(end)))
		return MAGIC_UNKNOWN;
	smp_rmb();	/* the magic first, then whether the stack is still there */
	if ((unsigned long)READ_ONCE(task->stack) != stack)
		return MAGIC_UNKNOWN;
	return end == STACK_END_MAGIC ? MAGIC_INTACT : MAGIC_OVERRUN;
}

static void copy_stack(struct facts *facts, struct task_struct *task)
{
	facts->state = task_state(task);
	facts->cpu = running_on(task);
	facts->stack = (unsigned long)READ_ONCE(task->stack);
	facts->sp = facts->stack ? saved_sp(task) : 0;
	facts->magic = check_end(task, facts->stack);
	/* It may have been put on a CPU since we looked. */
	if (facts->cpu == NOT_RUNNING)
		facts->cpu = running_on(task);
	copy_name(facts->comm, task);
}

static int collect(struct facts *facts)
{
	struct task_struct *task = find_task(facts->pid);

	if (IS_ERR(task))
		return PTR_ERR(task);
	copy_stack(facts, task);
	put_task_struct(task);
	return 0;
}

static int next(struct facts *facts, loff_t row)
{
	return row < 2;
}

static void print_pointers(struct out *out, const struct facts *facts)
{
	char name[SAFE_NAME_LEN], stale[64] = "";

	if (facts->cpu != NOT_RUNNING)
		scnprintf(stale, sizeof(stale),
			  " | RUNNING ON CPU %d: saved pointer is stale", facts->cpu);
	report_line(out, "PID: %d | PROCESS: %s | STATE: %u (%c) | STACK TOP FROM TASK->STACK: %016lx | CURRENT STACK POINTER THREAD.SP %016lx%s",
		    facts->pid, safe_name(name, facts->comm), facts->state,
		    state_letter(facts->state), facts->stack, facts->sp, stale);
}

static void print_use(struct out *out, const struct facts *facts)
{
	static const char * const magic[] = {
		[MAGIC_UNKNOWN] = "unknown",
		[MAGIC_INTACT] = "intact",
		[MAGIC_OVERRUN] = "OVERRUN",
	};
	unsigned long free = facts->sp - facts->stack;
	char use[64] = "IN USE = unknown | FREE = unknown";

	if (facts->cpu == NOT_RUNNING && facts->stack && free <= THREAD_SIZE)
		scnprintf(use, sizeof(use), "IN USE = %lu | FREE = %lu",
			  THREAD_SIZE - free, free);
	report_line(out, "STACK SIZE = %lu | %s | END MAGIC = %s",
		    (unsigned long)THREAD_SIZE, use, magic[facts->magic]);
}

static void print(struct out *out, const struct facts *facts, loff_t row)
{
	if (row == 0)
		print_pointers(out, facts);
	else
		print_use(out, facts);
}

static const struct report report = {
	.facts_size = sizeof(struct facts),
	.ask = ask,
	.collect = collect,
	.next = next,
	.print = print,
	.loaded = "SP module loaded",
	.removed = "Kernel stack pointer module removed,Bye !!",
};

static int __init lkm3_init(void)
{
	return report_load();
}

static void __exit lkm3_exit(void)
{
	report_unload();
}

module_init(lkm3_init);
module_exit(lkm3_exit);
MODULE_DESCRIPTION("Shows the kernel stack of a task and its saved stack pointer");
MODULE_LICENSE("GPL");
