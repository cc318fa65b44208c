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
 * all=1 shows each task in a line, the deepest stack first, and last those of
 * which nothing is known because they run or have ended:
 *
 *	PID: 1 | TID: 1 | PROCESS: systemd | IN USE = 896 | FREE = 15488 | END MAGIC = intact
 *
 * trace=1 adds how the task came to where it sleeps, if the kernel lets modules
 * ask, the innermost function first:
 *
 *	TRACE: __schedule+0x34d/0x9e0
 *
 * From: task_struct: stack, on_cpu; the saved pointer: thread.sp on x86-64 and
 *	riscv64, thread.cpu_context.sp on arm64.
 * Under: a reference to the task; for all=1 RCU, in one section. That keeps the
 *	task_struct, but not the stack, and a module has no way to pin it
 *	(put_task_stack() is not exported; never take what you cannot put). So
 *	nothing on the stack is touched but by a copy that may fault, and
 *	task->stack is looked at again afterwards.
 * By hand: addresses have no other source in user space. tests/lkm3.py reads the
 *	guest's memory from outside and finds what switch_to() left on the stack
 *	of a task that has run before: on x86-64 at SP + 48, on arm64 at SP + 8
 *	the return address into __schedule() (on arm64 its upper bits may be a
 *	signature of it: pointer authentication). On riscv64 that one is kept in
 *	thread.ra; the first on the stack is into schedule(), at the end of
 *	__schedule()'s frame.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/pid_namespace.h>
#include <linux/sched/task_stack.h>
#include <linux/sort.h>
#include <linux/uaccess.h>

#include "arch.h"
#include "report.h"

PARAM(pid, "pid or tid of the task (1 to 4194304, default 1)");
PARAM(all, "1: a line for each task, in place of pid= (0 or 1, default 0)");
PARAM(trace, "1: the calls of the task, too (0 or 1, default 0)");

#define NOT_RUNNING -1
#define UNKNOWN -1
#define MOST_CALLS 64

enum magic { MAGIC_UNKNOWN, MAGIC_INTACT, MAGIC_OVERRUN };

struct stack {
	pid_t pid;
	pid_t tid;
	unsigned int state;
	int cpu;		/* or NOT_RUNNING */
	unsigned long stack;	/* 0: gone */
	unsigned long sp;
	enum magic magic;
	char comm[TASK_COMM_LEN];
};

struct facts {
	bool all;
	bool trace;
	pid_t pid;
	struct stack *stacks;	/* the one, or all */
	size_t n;
	unsigned long calls[MOST_CALLS];
	int n_calls;		/* or UNKNOWN: the kernel does not say */
};

static int ask(struct facts *facts)
{
	struct param pid, all, trace;
	int err;

	kernel_param_lock(THIS_MODULE);
	pid = pid_param;
	all = all_param;
	trace = trace_param;
	kernel_param_unlock(THIS_MODULE);
	err = param_flag(&all, "all", false, &facts->all);
	err = err ?: param_flag(&trace, "trace", false, &facts->trace);
	if (err)
		return err;
	if (facts->all && (*pid.text || facts->trace)) {
		pr_err("all=1: shows every task; give it without pid= and trace=, or leave it out\n");
		return -EINVAL;
	}
	return param_pid(&pid, 1, &facts->pid);
}

/* ---- collect ---------------------------------------------------------- */

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

static void copy_stack(struct stack *stack, struct task_struct *task)
{
	stack->state = task_state(task);
	stack->cpu = running_on(task);
	stack->stack = (unsigned long)READ_ONCE(task->stack);
	stack->sp = stack->stack ? saved_sp(task) : 0;
	stack->magic = check_end(task, stack->stack);
	/* It may have been put on a CPU since we looked. */
	if (stack->cpu == NOT_RUNNING)
		stack->cpu = running_on(task);
	copy_name(stack->comm, task);
}

/* How many tasks there are; no more than the first @room of them are copied. */
static size_t copy_stacks(struct facts *facts, void *rows, size_t room)
{
	struct pid_namespace *ns = task_active_pid_ns(current);
	struct task_struct *process, *thread;
	struct stack *list = rows;
	pid_t tid;
	size_t n = 0;

	rcu_read_lock();
	for_each_process_thread(process, thread) {
		tid = task_pid_nr_ns(thread, ns);
		if (!tid)
			continue;
		if (n < room) {
			list[n].pid = process_pid(thread, ns);
			list[n].tid = tid;
			copy_stack(&list[n], thread);
		}
		n++;
	}
	rcu_read_unlock();
	return n;
}

/* Return: bytes of the stack in use, or UNKNOWN. */
static long in_use(const struct stack *stack)
{
	unsigned long free = stack->sp - stack->stack;

	if (stack->cpu != NOT_RUNNING || !stack->stack || free > THREAD_SIZE)
		return UNKNOWN;
	return THREAD_SIZE - free;
}

/* The deepest first; UNKNOWN is the least; of equal ones the lower tid. */
static int compare(const void *a, const void *b)
{
	const struct stack *x = a, *y = b;

	if (in_use(x) != in_use(y))
		return in_use(x) > in_use(y) ? -1 : 1;
	return x->tid < y->tid ? -1 : x->tid > y->tid;
}

static int collect_all(struct facts *facts)
{
	facts->stacks = copy_rows(facts, copy_stacks, sizeof(*facts->stacks),
				  &facts->n);
	if (!facts->stacks)
		return -ENOMEM;
	sort(facts->stacks, facts->n, sizeof(*facts->stacks), compare, NULL);
	return 0;
}

static int collect(struct facts *facts)
{
	struct task_struct *task;

	if (facts->all)
		return collect_all(facts);
	facts->stacks = kvzalloc(sizeof(*facts->stacks), GFP_REPORT);
	if (!facts->stacks)
		return -ENOMEM;
	task = find_task(facts->pid);
	if (IS_ERR(task))
		return PTR_ERR(task);
	facts->stacks->pid = facts->pid;
	copy_stack(facts->stacks, task);
	if (facts->trace && facts->stacks->cpu == NOT_RUNNING)
		facts->n_calls = task_calls(task, facts->calls, MOST_CALLS);
	put_task_struct(task);
	return 0;
}

static void drop(struct facts *facts)
{
	kvfree(facts->stacks);
}

/* ---- print ------------------------------------------------------------ */

static int next(struct facts *facts, loff_t row)
{
	if (facts->all)
		return row < facts->n;
	return row < 2 + facts->trace;
}

static void print_pointers(struct out *out, const struct stack *stack)
{
	char name[SAFE_NAME_LEN], stale[64] = "";

	if (stack->cpu != NOT_RUNNING)
		scnprintf(stale, sizeof(stale),
			  " | RUNNING ON CPU %d: saved pointer is stale", stack->cpu);
	report_line(out, "PID: %d | PROCESS: %s | STATE: %u (%c) | STACK TOP FROM TASK->STACK: %016lx | CURRENT STACK POINTER THREAD.SP %016lx%s",
		    stack->pid, safe_name(name, stack->comm), stack->state,
		    state_letter(stack->state), stack->stack, stack->sp, stale);
}

/* use() - how much is in use and free; @buf has room for USE_LEN */
#define USE_LEN 96

static const char *use(char *buf, const struct stack *stack)
{
	static const char * const magic[] = {
		[MAGIC_UNKNOWN] = "unknown",
		[MAGIC_INTACT] = "intact",
		[MAGIC_OVERRUN] = "OVERRUN",
	};
	long bytes = in_use(stack);

	if (bytes == UNKNOWN)
		scnprintf(buf, USE_LEN, "IN USE = unknown | FREE = unknown | END MAGIC = %s",
			  magic[stack->magic]);
	else
		scnprintf(buf, USE_LEN, "IN USE = %ld | FREE = %ld | END MAGIC = %s",
			  bytes, THREAD_SIZE - bytes, magic[stack->magic]);
	return buf;
}

static void print_calls(struct out *out, const struct facts *facts)
{
	int i;

	if (facts->stacks->cpu != NOT_RUNNING)
		report_line(out, "TRACE: none, the task is running");
	else if (facts->n_calls == UNKNOWN)
		report_line(out, "TRACE: none, this kernel does not give one to modules");
	else if (!facts->n_calls)
		report_line(out, "TRACE: none, the task has no stack any more");
	for (i = 0; i < facts->n_calls; i++)
		report_line(out, "TRACE: %pS", (void *)facts->calls[i]);
}

static void print(struct out *out, const struct facts *facts, loff_t row)
{
	const struct stack *stack = &facts->stacks[facts->all ? row : 0];
	char name[SAFE_NAME_LEN], buf[USE_LEN];

	if (facts->all)
		report_line(out, "PID: %d | TID: %d | PROCESS: %s | %s", stack->pid,
			    stack->tid, safe_name(name, stack->comm), use(buf, stack));
	else if (row == 0)
		print_pointers(out, stack);
	else if (row == 1)
		report_line(out, "STACK SIZE = %lu | %s", (unsigned long)THREAD_SIZE,
			    use(buf, stack));
	else
		print_calls(out, facts);
}

static const struct report report = {
	.facts_size = sizeof(struct facts),
	.ask = ask,
	.collect = collect,
	.next = next,
	.print = print,
	.drop = drop,
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
