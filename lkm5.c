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
 * From: mm_struct: the VMAs, total_vm, rss_stat, pgtables_bytes; the page tables.
 * Under: a reference to the task, then to its mm; the mmap lock for the VMAs and
 *	total_vm, which change under it. The counters change under no lock: they
 *	are exact for a process that is stopped. The page tables: look by look, by
 *	the protocol at the head of walk.h.
 * By hand: VSZ: ps -o vsz, VIRT of top. RSS, ANON, SWAP: Rss, Anonymous, Swap in
 *	/proc/PID/smaps_rollup. FILE and SHMEM: what is Rss and not Anonymous in
 *	/proc/PID/smaps, by mapping; so is the RSS of each. PAGE TABLES: VmPTE in
 *	/proc/PID/status (whose Rss lines are the estimate on older kernels). The
 *	VMAs: /proc/PID/maps without [vsyscall].
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/slab.h>

#include "report.h"
#include "walk.h"

PARAM(pid, "pid of the process (1 to 4194304, must be given)");
PARAM(vmas, "2: list the mappings with the RSS of each; 1: list them; 0: only count them (0 to 2, default 1)");
PARAM(verify, "1: count RSS in the page tables as well (0 or 1, default 0)");

struct facts {
	pid_t pid;
	u64 vmas;
	bool verify;
	char comm[TASK_COMM_LEN];
	struct mappings maps;
	unsigned long vsz;			/* pages */
	long count[NR_MM_COUNTERS];		/* pages, by MM_* */
	unsigned long estimate;			/* pages */
	unsigned long tables;			/* bytes */
	unsigned long walked;			/* bytes in memory, by walking */
};

static int ask(struct facts *facts)
{
	struct param pid, vmas, verify;
	int err;

	kernel_param_lock(THIS_MODULE);
	pid = pid_param;
	vmas = vmas_param;
	verify = verify_param;
	kernel_param_unlock(THIS_MODULE);
	err = param_pid(&pid, 0, &facts->pid);
	err = err ?: param_number(&vmas, "vmas", 1, 2, &facts->vmas);
	return err ?: param_flag(&verify, "verify", false, &facts->verify);
}

static unsigned long rss(const struct facts *facts)
{
	return facts->count[MM_ANONPAGES] + facts->count[MM_FILEPAGES] +
	       facts->count[MM_SHMEMPAGES];
}

static void collect_counters(struct facts *facts, struct mm_struct *mm,
			     struct task_struct *task)
{
	int i;

	/* One of the references to the mm is ours. */
	if (!mm_counters(mm, task, 1, facts->count))
		mm_counters_of_sharers(mm, facts->count);
	for (i = 0; i < NR_MM_COUNTERS; i++)
		facts->count[i] = max(facts->count[i], 0L);
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

static int collect(struct facts *facts)
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

static void drop(struct facts *facts)
{
	kvfree(facts->maps.list);
}

/* The row behind the name and the listed mappings. */
static loff_t last_row(const struct facts *facts)
{
	return 1 + (facts->vmas ? facts->maps.n : 0);
}

static int next(struct facts *facts, loff_t row)
{
	return row <= last_row(facts);
}

static unsigned long kb(unsigned long pages)
{
	return pages << (PAGE_SHIFT - 10);
}

static void print_sizes(struct out *out, const struct facts *facts)
{
	report_line(out, "PAGE SIZE  IN KB = %lu", kb(1));
	report_line(out, "Number of VMAs = %zu", facts->maps.n);
	report_line(out, "Total VSZ = %lu", kb(facts->vsz));
	report_line(out, "Total RSS = %lu", kb(rss(facts)));
	if (facts->estimate != rss(facts))
		report_line(out, "ESTIMATE = %lu", kb(facts->estimate));
	if (facts->verify)
		report_line(out, "COUNTED BY WALKING = %lu", facts->walked >> 10);
	report_line(out, "RSS ANON = %lu | RSS FILE = %lu | RSS SHMEM = %lu | SWAP = %lu | PAGE TABLES = %lu",
		    kb(facts->count[MM_ANONPAGES]), kb(facts->count[MM_FILEPAGES]),
		    kb(facts->count[MM_SHMEMPAGES]), kb(facts->count[MM_SWAPENTS]),
		    facts->tables >> 10);
}

static void print(struct out *out, const struct facts *facts, loff_t row)
{
	char name[SAFE_NAME_LEN];

	if (row == 0)
		report_line(out, "PID: %d | PROCESS: %s", facts->pid,
			    safe_name(name, facts->comm));
	else if (row < last_row(facts))
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
MODULE_DESCRIPTION("Shows the virtual and the resident size of a process");
MODULE_LICENSE("GPL");
