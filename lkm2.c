// SPDX-License-Identifier: GPL-2.0-only
/*
 * lkm2 - every heap, and the largest
 *
 *	sudo insmod lkm2.ko; sudo dmesg -T | tail; sudo rmmod lkm2
 *
 * prints for each process with user memory how large its heap is, and how much
 * anonymous memory it has resident in all:
 *
 *	PID: 1557 | PROCESS: bash | STATE: 1 (S) | HEAP: 1AE000 (1720 kB) | ANON: 1880 kB
 *	MAX HEAP USAGE BY PID = 1557 --> AMOUNT USED = 1AE000 (1720 kB)
 *
 * The heap is what brk() moves the end of, in bytes, hexadecimal. malloc() takes
 * large blocks, and those of other threads, from mmap() instead: hence ANON, all
 * anonymous memory that is there, lest the largest heap be mistaken for the
 * largest user of memory. A heap need not be in memory: resident=1 adds how much
 * of it is, ` | RESIDENT: 1640 kB`, which takes a walk through its page tables.
 *
 * From: mm_struct: brk - start_brk, and the MM_ANONPAGES counter; page tables.
 * Under: RCU for the list of tasks, and task_lock() of a task for its mm: while
 *	we hold it the task cannot let go of the mm, so no reference is needed,
 *	and no mmput(), which may sleep. So may the mmap lock, under which brk()
 *	moves the heap's end: a heap that moves is shown before or after. The
 *	tables: a reference to the mm, and the protocol at the head of walk.h.
 * By hand: the [heap] line of /proc/PID/maps (whole pages; brk need not end at
 *	one), Anonymous in /proc/PID/smaps_rollup, Rss of [heap] in smaps.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/pid_namespace.h>
#include <linux/sort.h>

#include "report.h"
#include "walk.h"

PARAM(resident, "1: count how much of each heap is in memory (0 or 1, default 0)");
PARAM(top, "only so many processes, those with the largest heaps first (0 to 4294967295, default 0: all, in the order of the task list)");

struct heap {
	pid_t pid;
	u64 started;		/* nanoseconds; tells a pid that is used anew */
	unsigned int state;
	unsigned long bytes;
	struct counts counts;
	long resident;		/* bytes; -1: unknown, the process is gone */
	char comm[TASK_COMM_LEN];
};

struct facts {
	u64 top;
	bool resident;
	struct heap *heaps;
	size_t n;
	size_t shown;
	struct heap largest;
};

static int ask(struct facts *facts)
{
	struct param top, resident;
	int err;

	kernel_param_lock(THIS_MODULE);
	top = top_param;
	resident = resident_param;
	kernel_param_unlock(THIS_MODULE);
	err = param_number(&top, "top", 0, U32_MAX, &facts->top);
	return err ?: param_flag(&resident, "resident", false, &facts->resident);
}

static void copy_memory(void *to, struct mm_struct *mm, struct task_struct *user)
{
	unsigned long start = READ_ONCE(mm->start_brk), end = READ_ONCE(mm->brk);
	struct heap *heap = to;

	heap->bytes = end > start ? end - start : 0;
	copy_counts(&heap->counts, mm, user, 0);
}

/* Whether the process has a pid in the namespace, and user memory. */
static bool copy_heap(struct heap *heap, struct task_struct *process,
		      struct pid_namespace *ns)
{
	heap->pid = process_pid(process, ns);
	if (!heap->pid)
		return false;
	heap->started = process->start_time;
	heap->state = task_state(process);
	copy_name(heap->comm, process);
	return look_at_mm(process, copy_memory, heap);
}

static size_t copy_heaps(struct facts *facts, void *rows, size_t room)
{
	struct pid_namespace *ns = task_active_pid_ns(current);
	struct task_struct *process;
	struct heap *list = rows;
	size_t n = 0;

	rcu_read_lock();
	for_each_process(process)
		n += n >= room || copy_heap(&list[n], process, ns);
	rcu_read_unlock();
	return n;
}

/* The larger heap first; of equal ones that of the lower pid. */
static int compare(const void *a, const void *b)
{
	const struct heap *x = a, *y = b;

	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static void rank(struct facts *facts)
{
	size_t i;

	for (i = 0; i < facts->n; i++)
		if (!i || compare(&facts->heaps[i], &facts->largest) < 0)
			facts->largest = facts->heaps[i];
	facts->shown = facts->n;
	if (!facts->top)
		return;
	sort(facts->heaps, facts->n, sizeof(*facts->heaps), compare, NULL);
	facts->shown = min_t(u64, facts->n, facts->top);
}

/* As it is now: it may have moved since it was copied. */
static int walk_heap(struct heap *heap, struct mm_struct *mm, struct look *look)
{
	unsigned long va = READ_ONCE(mm->start_brk) & PAGE_MASK;
	unsigned long end = PAGE_ALIGN(READ_ONCE(mm->brk));
	int err;

	heap->resident = 0;
	for (; va < end; va = look->end) {
		err = look_at(mm, va, end, look);
		if (err)
			return err;
		heap->resident += look_resident(look);
	}
	return 0;
}

static int collect_resident(struct heap *heap, struct look *look)
{
	struct task_struct *task = task_of(heap->pid);
	struct mm_struct *mm = NULL;
	int err = 0;

	heap->resident = -1;
	if (task && task->start_time == heap->started)
		mm = get_process_mm(task);
	if (mm) {
		err = walk_heap(heap, mm, look);
		mmput(mm);
	}
	if (task)
		put_task_struct(task);
	return err;
}

static int collect_residents(struct facts *facts)
{
	struct look *look = kvzalloc(sizeof(*look), GFP_REPORT);
	int err = look ? 0 : -ENOMEM;
	size_t i;

	for (i = 0; i < facts->shown && !err; i++)
		err = collect_resident(&facts->heaps[i], look);
	kvfree(look);
	return err;
}

static int collect(struct facts *facts)
{
	struct heap *heap;

	facts->heaps = copy_rows(facts, copy_heaps, sizeof(*heap), &facts->n);
	if (!facts->heaps)
		return -ENOMEM;
	for (heap = facts->heaps; heap < facts->heaps + facts->n; heap++) {
		settle_counts(&heap->counts);
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	rank(facts);
	return facts->resident ? collect_residents(facts) : 0;
}

static void drop(struct facts *facts)
{
	kvfree(facts->heaps);
}

static int next(struct facts *facts, loff_t row)
{
	return row <= facts->shown;
}

static void print_heap(struct out *out, const struct facts *facts,
		       const struct heap *heap)
{
	char name[SAFE_NAME_LEN], resident[48] = "";

	if (facts->resident && heap->resident < 0)
		strscpy(resident, " | RESIDENT: unknown", sizeof(resident));
	else if (facts->resident)
		scnprintf(resident, sizeof(resident), " | RESIDENT: %ld kB",
			  heap->resident >> 10);
	report_line(out, "PID: %d | PROCESS: %s | STATE: %u (%c) | HEAP: %lX (%lu kB) | ANON: %lu kB%s",
		    heap->pid, safe_name(name, heap->comm), heap->state,
		    state_letter(heap->state), heap->bytes, heap->bytes >> 10,
		    pages_to_kb(heap->counts.n[MM_ANONPAGES]), resident);
}

static void print(struct out *out, const struct facts *facts, loff_t row)
{
	const struct heap *largest = &facts->largest;

	if (row < facts->shown)
		print_heap(out, facts, &facts->heaps[row]);
	else
		report_line(out, "MAX HEAP USAGE BY PID = %d --> AMOUNT USED = %lX (%lu kB)",
			    largest->pid, largest->bytes, largest->bytes >> 10);
}

static const struct report report = {
	.facts_size = sizeof(struct facts),
	.ask = ask,
	.collect = collect,
	.next = next,
	.print = print,
	.drop = drop,
	.loaded = "List Heap memory-in-use by processes kernel module loaded",
	.removed = "Heap-in-use module removed,Bye !!",
};

static int __init lkm2_init(void)
{
	return report_load();
}

static void __exit lkm2_exit(void)
{
	report_unload();
}

module_init(lkm2_init);
module_exit(lkm2_exit);
MODULE_DESCRIPTION("Shows the heap of every process, and the largest");
MODULE_LICENSE("GPL");
