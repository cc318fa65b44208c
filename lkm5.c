// SPDX-License-Identifier: GPL-2.0-only
/*
 * lkm5 - the size of a process
 *
 *	sudo insmod lkm5.ko pid=3170; sudo dmesg -T | tail; sudo rmmod lkm5
 *
 * prints the mappings of a process, how much address space they are (VSZ), and
 * how much of that is memory (RSS), all in kB:
 *
 *	PID: 3170 | PROCESS: lazy
 *	VM START = 7ffe877c2000 VM END = 7ffe877c4000 | r-xp
 *	PAGE SIZE  IN KB = 4
 *	Number of VMAs = 31
 *	Total VSZ = 2488
 *	Total RSS = 1592
 *	ESTIMATE = 1528
 *	RSS ANON = 88 | RSS FILE = 1504 | RSS SHMEM = 0 | SWAP = 0 | PAGE TABLES = 44
 *
 * Total RSS is exact. The kernel's own quick figure is not: it leaves out what
 * threads (on older kernels) or CPUs (on newer ones; see compat.h) have counted
 * but not handed in yet. ESTIMATE is that figure, where it differs: what field
 * 24 of /proc/PID/stat says, in pages, and on older kernels top as RES.
 *
 * verify=1 counts again, page by page, in the page tables, and adds
 *
 *	COUNTED BY WALKING = 1592
 *
 * which is Total RSS for a process that is stopped; vmas=2 adds ` | RSS = 8` to
 * each mapping. A process that runs changes meanwhile, and its tables are not
 * looked at in one instant.
 *
 * all=1, in place of pid=, prints a line for each process, the largest RSS first,
 * and the sums. (What processes share counts for each of them.)
 *
 *	PID: 3170 | PROCESS: lazy | VSZ: 2488 kB | RSS: 1592 kB | SWAP: 0 kB
 *	PROCESSES: 81 | VSZ: 1234567 kB | RSS: 345678 kB | SWAP: 0 kB
 *
 * From: mm_struct: the VMAs, total_vm, rss_stat, pgtables_bytes; the page tables.
 *	all=1: the list of processes, total_vm and rss_stat.
 * Under: a reference to the task, then to its mm; the mmap lock for the VMAs and
 *	total_vm, which change under it. The counters change under no lock: they
 *	are exact for a process that is stopped. The page tables: look by look, by
 *	the protocol at the head of walk.h. all=1: RCU for the list, task_lock() for
 *	each mm.
 * By hand: VSZ: ps -o vsz, VIRT of top. RSS, ANON, SWAP: Rss, Anonymous, Swap in
 *	/proc/PID/smaps_rollup. FILE and SHMEM: what is Rss and not Anonymous in
 *	/proc/PID/smaps, by mapping; so is the RSS of each. PAGE TABLES: VmPTE in
 *	/proc/PID/status (whose Rss lines are the estimate on older kernels). The
 *	VMAs: /proc/PID/maps without [vsyscall]. all=1: ps aux --sort=-rss, whose
 *	RSS is the estimate on older kernels.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/pid_namespace.h>
#include <linux/slab.h>

#include "report.h"
#include "walk.h"

PARAM(pid, "pid of the process (1 to 4194304, must be given, but for all=1)");
PARAM(all, "1: a line for each process, the largest RSS first, in place of pid= (0 or 1, default 0)");
PARAM(vmas, "2: list the mappings with the RSS of each; 1: list them; 0: only count them (0 to 2, default 1)");
PARAM(verify, "1: count RSS in the page tables as well (0 or 1, default 0)");

/* What the line of one process says, with all=1. */
struct size {
	struct size *next;
	pid_t pid;
	unsigned long vsz;	/* pages */
	unsigned long rss;	/* pages */
	struct counts counts;
	char comm[TASK_COMM_LEN];
};

struct facts {
	bool all;
	pid_t pid;
	u64 vmas;
	bool verify;
	char comm[TASK_COMM_LEN];
	struct mappings maps;
	unsigned long vsz;		/* pages */
	struct counts counts;
	unsigned long estimate;		/* pages */
	unsigned long tables;		/* bytes */
	unsigned long walked;		/* bytes in memory, by walking */
	unsigned long rss, swap;	/* pages, of all processes */
	struct size *sizes;
	const struct size **by_rss;	/* the same, in order */
	size_t n;
};

struct params {
	struct param pid, all, vmas, verify;
};

static int ask_all(const struct params *params)
{
	if (!*params->pid.text && !*params->vmas.text && !*params->verify.text)
		return 0;
	pr_err("all=1: shows every process; give it without pid=, vmas= and verify=, or leave it out\n");
	return -EINVAL;
}

static int ask(struct facts *facts)
{
	struct params params;
	int err;

	kernel_param_lock(THIS_MODULE);
	params = (struct params){ pid_param, all_param, vmas_param, verify_param };
	kernel_param_unlock(THIS_MODULE);
	err = param_flag(&params.all, "all", false, &facts->all);
	if (err)
		return err;
	if (facts->all)
		return ask_all(&params);
	err = param_pid(&params.pid, 0, &facts->pid);
	err = err ?: param_number(&params.vmas, "vmas", 1, 2, &facts->vmas);
	return err ?: param_flag(&params.verify, "verify", false, &facts->verify);
}

/* ---- one process ------------------------------------------------------ */

static void collect_counters(struct facts *facts, struct mm_struct *mm,
			     struct task_struct *task)
{
	/* One of the references to the mm is ours. */
	copy_counts(&facts->counts, mm, task, 1);
	settle_counts(&facts->counts);
	facts->estimate = get_mm_rss(mm);
	facts->tables = mm_pgtables_bytes(mm);
}

/* Add what a look saw to the whole, and to the mapping that it was in. */
static size_t add_look(struct facts *facts, const struct look *look, size_t i)
{
	struct mapping *list = facts->maps.list;
	unsigned long bytes = look_resident(look);

	facts->walked += bytes;
	while (list && i < facts->maps.n && list[i].end <= look->va)
		i++;
	if (list && i < facts->maps.n && list[i].start <= look->va)
		list[i].resident += bytes;
	return i;
}

static int collect_resident(struct facts *facts, struct mm_struct *mm)
{
	struct look *look = kvzalloc(sizeof(*look), GFP_REPORT);
	unsigned long va = 0;
	size_t i = 0;
	int err = look ? 0 : -ENOMEM;

	for (; !err && va < mm->task_size; va = look->end) {
		err = look_at(mm, va, mm->task_size, look);
		if (!err)
			i = add_look(facts, look, i);
	}
	kvfree(look);
	return err;
}

static int collect_mm(struct facts *facts, struct mm_struct *mm,
		      struct task_struct *task)
{
	int err = lock_mappings(mm, &facts->maps, facts->vmas);

	if (err)
		return err;
	facts->vsz = mm->total_vm;
	mmap_read_unlock(mm);
	collect_counters(facts, mm, task);
	if (facts->verify || facts->vmas == 2)
		return collect_resident(facts, mm);
	return 0;
}

static int collect_process(struct facts *facts)
{
	struct task_struct *task = find_task(facts->pid);
	struct mm_struct *mm;
	int err;

	if (IS_ERR(task))
		return PTR_ERR(task);
	copy_name(facts->comm, task);
	mm = find_mm(task, facts->pid);
	err = PTR_ERR_OR_ZERO(mm);
	if (err)
		goto put_task;
	err = collect_mm(facts, mm, task);
	mmput(mm);
put_task:
	put_task_struct(task);
	return err;
}

/* ---- all of them ------------------------------------------------------ */

static void copy_memory(void *to, struct mm_struct *mm, struct task_struct *user)
{
	struct size *size = to;

	size->vsz = READ_ONCE(mm->total_vm);
	copy_counts(&size->counts, mm, user, 0);
}

/* Whether the process has a pid in the namespace. */
static bool copy_size(struct size *size, struct task_struct *process,
		      struct pid_namespace *ns)
{
	size->pid = process_pid(process, ns);
	if (!size->pid)
		return false;
	copy_name(size->comm, process);
	size->vsz = 0;
	size->counts = (struct counts){ };
	/* A kernel thread, or a zombie, has no memory, but a line. */
	look_at_mm(process, copy_memory, size);
	return true;
}

static size_t copy_sizes(struct facts *facts, void *rows, size_t room)
{
	struct pid_namespace *ns = task_active_pid_ns(current);
	struct task_struct *process;
	struct size *list = rows;
	size_t n = 0;

	rcu_read_lock();
	for_each_process(process)
		n += n >= room || copy_size(&list[n], process, ns);
	rcu_read_unlock();
	return n;
}

/* Make them whole, sum them up, and put them behind @end, one after another. */
static int settle_sizes(struct facts *facts, struct size **end)
{
	struct size *size;

	for (size = facts->sizes; size < facts->sizes + facts->n; size++) {
		cond_resched();
		if (fatal_signal_pending(current))
			return -EINTR;
		settle_counts(&size->counts);
		size->rss = counted_rss(&size->counts);
		*end = size;
		end = &size->next;
		facts->vsz += size->vsz;
		facts->rss += size->rss;
		facts->swap += size->counts.n[MM_SWAPENTS];
	}
	*end = NULL;
	return 0;
}

/*
 * Those with a larger digit first, of the four bits from @shift on; those with the same
 * one keep their order.
 */
static void sort_by_digit(struct size **sizes, unsigned int shift)
{
	struct size *first[16], **end[16], *size;
	int digit;

	for (digit = 0; digit < 16; digit++)
		end[digit] = &first[digit];
	for (size = *sizes; size; size = size->next) {
		digit = size->rss >> shift & 15;
		*end[digit] = size;
		end[digit] = &size->next;
	}
	for (digit = 15; digit >= 0; digit--) {
		if (end[digit] == &first[digit])
			continue;
		*sizes = first[digit];
		sizes = end[digit];
	}
	*sizes = NULL;
}

/*
 * The larger RSS first; equal ones stay in the order of the task list. Digit by digit,
 * from the lowest on: to compare a process with a dozen others would cost a fifth of
 * the whole report.
 */
static void sort_by_rss(struct size **sizes)
{
	const struct size *size;
	unsigned long bits = 0;
	unsigned int shift;

	for (size = *sizes; size; size = size->next)
		bits |= size->rss;
	for (shift = 0; bits; bits >>= 4, shift += 4)
		sort_by_digit(sizes, shift);
}

static int collect_all(struct facts *facts)
{
	const struct size **next;
	struct size *first, *size;
	int err;

	facts->sizes = copy_rows(facts, copy_sizes, sizeof(*size), &facts->n);
	if (!facts->sizes)
		return -ENOMEM;
	facts->by_rss = kvmalloc_array(facts->n, sizeof(size), GFP_REPORT);
	if (!facts->by_rss)
		return -ENOMEM;
	err = settle_sizes(facts, &first);
	if (err)
		return err;
	sort_by_rss(&first);
	for (size = first, next = facts->by_rss; size; size = size->next)
		*next++ = size;
	return 0;
}

/* ---- rows ------------------------------------------------------------- */

static int collect(struct facts *facts)
{
	return facts->all ? collect_all(facts) : collect_process(facts);
}

static void drop(struct facts *facts)
{
	kvfree(facts->maps.list);
	kvfree(facts->sizes);
	kvfree(facts->by_rss);
}

/* The row behind all processes, or behind the name and the listed mappings. */
static loff_t last_row(const struct facts *facts)
{
	if (facts->all)
		return facts->n;
	return 1 + (facts->vmas ? facts->maps.n : 0);
}

static int next(struct facts *facts, loff_t row)
{
	return row <= last_row(facts);
}

static void print_sizes(struct out *out, const struct facts *facts)
{
	unsigned long rss = counted_rss(&facts->counts);
	const long *n = facts->counts.n;

	report_line(out, "PAGE SIZE  IN KB = %lu", pages_to_kb(1));
	print_vmas(out, &facts->maps);
	report_line(out, "Total VSZ = %lu", pages_to_kb(facts->vsz));
	report_line(out, "Total RSS = %lu", pages_to_kb(rss));
	if (facts->estimate != rss)
		report_line(out, "ESTIMATE = %lu", pages_to_kb(facts->estimate));
	if (facts->verify)
		report_line(out, "COUNTED BY WALKING = %lu", facts->walked >> 10);
	report_line(out, "RSS ANON = %lu | RSS FILE = %lu | RSS SHMEM = %lu | SWAP = %lu | PAGE TABLES = %lu",
		    pages_to_kb(n[MM_ANONPAGES]), pages_to_kb(n[MM_FILEPAGES]),
		    pages_to_kb(n[MM_SHMEMPAGES]), pages_to_kb(n[MM_SWAPENTS]),
		    facts->tables >> 10);
}

static void print_size(struct out *out, const struct size *size)
{
	char *to = put_process(line_begin(out), size->pid, size->comm);

	to = put_decimal(put_text(to, " | VSZ: "), pages_to_kb(size->vsz));
	to = put_decimal(put_text(to, " kB | RSS: "), pages_to_kb(size->rss));
	to = put_decimal(put_text(to, " kB | SWAP: "),
			 pages_to_kb(size->counts.n[MM_SWAPENTS]));
	line_end(out, put_text(to, " kB"));
}

static void print_sums(struct out *out, const struct facts *facts)
{
	report_line(out, "PROCESSES: %zu | VSZ: %lu kB | RSS: %lu kB | SWAP: %lu kB",
		    facts->n, pages_to_kb(facts->vsz), pages_to_kb(facts->rss),
		    pages_to_kb(facts->swap));
}

static void print(struct out *out, const struct facts *facts, loff_t row)
{
	bool last = row == last_row(facts);

	if (facts->all && !last)
		print_size(out, facts->by_rss[row]);
	else if (facts->all)
		print_sums(out, facts);
	else if (row == 0)
		print_process(out, facts->pid, facts->comm);
	else if (!last)
		print_vma(out, &facts->maps, row - 1, facts->vmas == 2);
	else
		print_sizes(out, facts);
}

static const struct report report = {
	.facts_size = sizeof(struct facts),
	.ask = ask,
	.collect = collect,
	.next = next,
	.print = print,
	.drop = drop,
	.loaded = "Virtual memory info kernel module loaded",
	.removed = "Virtual memory module removed,Bye !!",
};

static int __init lkm5_init(void)
{
	return report_load();
}

static void __exit lkm5_exit(void)
{
	report_unload();
}

module_init(lkm5_init);
module_exit(lkm5_exit);
MODULE_DESCRIPTION("Shows the virtual and the resident size of a process, or of all");
MODULE_LICENSE("GPL");
