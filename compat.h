/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * compat.h - the one file that knows there is more than one kernel
 *
 * The rest of the suite is written for the newest kernel. What an older one
 * lacks is supplied here under the name that upstream gave it; what upstream
 * never gave modules a name for is hidden here behind one of ours. Each shim
 * says which release and commit made it necessary, what is asked for, and with
 * which kernel it can go. `make lint` reads that: docs/compat.md has the form.
 *
 * Oldest kernel served: 5.10.
 */
#ifndef LKM_COMPAT_H
#define LKM_COMPAT_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/percpu_counter.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/stacktrace.h>
#include <linux/swap.h>
#include <linux/version.h>

#if __has_include(<linux/leafops.h>)
#include <linux/leafops.h>
#else
#include <linux/swapops.h>
#endif

/*
 * task->__state: v5.14, 2f064a59a11f ("sched: Change task_struct::state").
 * Probe: version. Goes with 5.13.
 */
static inline unsigned int task_run_state(const struct task_struct *task)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 14, 0)
	return READ_ONCE(task->state);
#else
	return READ_ONCE(task->__state);
#endif
}

/*
 * __task_state_index(): v5.18, fa2c3254d7cf ("sched/tracing: Don't re-read
 * p->state when emitting sched_switch event").
 * Probe: version. Goes with 5.17.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 18, 0)
static inline unsigned int lkm_task_state_index(unsigned int state,
						unsigned int exit_state)
{
	if ((state & TASK_IDLE) == TASK_IDLE)
		return fls(TASK_REPORT_IDLE);
	return fls((state | exit_state) & TASK_REPORT);
}

#define __task_state_index lkm_task_state_index
#endif

/*
 * VMA_ITERATOR, for_each_vma(): v6.1, f39af05949a4 ("mm: add VMA iterator").
 * Before, the mappings were a list and a tree that find_vma() looks through.
 * Probe: VMA_ITERATOR. Goes with 6.0.
 */
#ifndef VMA_ITERATOR
struct lkm_vma_iterator {
	struct mm_struct *mm;
	unsigned long next;	/* first address not looked at yet */
};

static inline struct vm_area_struct *lkm_vma_next(struct lkm_vma_iterator *vmi)
{
	struct vm_area_struct *vma = find_vma(vmi->mm, vmi->next);

	if (vma)
		vmi->next = vma->vm_end;
	return vma;
}

#define VMA_ITERATOR(name, mm_, address_) \
	struct lkm_vma_iterator name = { .mm = (mm_), .next = (address_) }
#define for_each_vma(vmi, vma) \
	while (((vma) = lkm_vma_next(&(vmi))) != NULL)
#endif

/*
 * softleaf_*(): v6.19, 68aa2fdbf57f ("mm: introduce leaf entry type and use to
 * simplify leaf entry logic"). What an entry says that is not none and not
 * present. 6.12.y got one stray macro of it, so the header is asked for.
 * Probe: <linux/leafops.h>. Goes with 6.18.
 */
#if !__has_include(<linux/leafops.h>)
typedef swp_entry_t softleaf_t;

#define softleaf_from_pte(pte)			pte_to_swp_entry(pte)
#define softleaf_is_migration(entry)		is_migration_entry(entry)
#define softleaf_is_hwpoison(entry)		is_hwpoison_entry(entry)
#define softleaf_is_device_private(entry)	is_device_private_entry(entry)

/*
 * is_device_exclusive_entry(): v5.14, b756a3b5e7ea ("mm: device exclusive memory
 * access").
 * Probe: version. Goes with 5.13.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 14, 0)
#define softleaf_is_device_exclusive(entry)	false
#else
#define softleaf_is_device_exclusive(entry)	is_device_exclusive_entry(entry)
#endif

/*
 * is_pte_marker_entry(): v5.19, 679d10331910 ("mm: introduce PTE_MARKER swap
 * entry").
 * Probe: PTE_MARKER_MASK. Goes with 5.18.
 */
#ifdef PTE_MARKER_MASK
#define softleaf_is_marker(entry)		is_pte_marker_entry(entry)
#else
#define softleaf_is_marker(entry)		false
#endif

/*
 * is_poisoned_swp_entry(): v6.6, af19487f00f3 ("mm: make PTE_MARKER_SWAPIN_ERROR
 * more general"). Since v5.19, 9f186f9e5fa9, there were errors of swapping in,
 * since v6.2, 15520a3f0469, they are markers.
 * Probe: PTE_MARKER_POISONED, SWP_SWAPIN_ERROR, PTE_MARKER_SWAPIN_ERROR.
 * Goes with 6.5.
 */
#if defined(PTE_MARKER_POISONED)
#define softleaf_is_poison_marker(entry)	is_poisoned_swp_entry(entry)
#elif defined(SWP_SWAPIN_ERROR) || defined(PTE_MARKER_SWAPIN_ERROR)
#define softleaf_is_poison_marker(entry)	is_swapin_error_entry(entry)
#else
#define softleaf_is_poison_marker(entry)	false
#endif
#endif

/**
 * marker_name() - what a marker marks
 * @entry: one that is a marker, and none of poison
 *
 * PTE_MARKER_GUARD: v6.13, 7c53dfbdb024 ("mm: add PTE_MARKER_GUARD PTE marker").
 * Before, there was no such marker to tell from others, nor one of userfaultfd
 * before v5.19, 1db9dbc2ef05. It is asked for bit by bit: softleaf_is_*() of one
 * marker came later than the markers.
 * Probe: PTE_MARKER_GUARD, PTE_MARKER_UFFD_WP. Goes with 6.12.
 */
static inline const char *marker_name(softleaf_t entry)
{
#ifdef PTE_MARKER_GUARD
	if (swp_offset(entry) & PTE_MARKER_GUARD)
		return "guard marker";
#endif
#ifdef PTE_MARKER_UFFD_WP
	if (swp_offset(entry) & PTE_MARKER_UFFD_WP)
		return "uffd_wp marker";
#endif
	return "marker";
}

/*
 * p4d_offset_lockless(), pud_offset_lockless(): v6.8, edf955647269 ("riscv: Use
 * accessors to page table entries instead of direct dereference"). What riscv64
 * has behind them is out of line since, and was not for modules until "RISC-V: KVM:
 * Transparent huge page support", which v7.3 has.
 * Probe: CONFIG_RISCV, CONFIG_64BIT. Goes with none yet.
 */
#if defined(CONFIG_RISCV) && defined(CONFIG_64BIT)
static inline p4d_t *lkm_p4d_offset(pgd_t *pgd, unsigned long address)
{
	return pgtable_l5_enabled ? pgd_pgtable(*pgd) + p4d_index(address) :
				    (p4d_t *)pgd;
}

static inline pud_t *lkm_pud_offset(p4d_t *p4d, unsigned long address)
{
	return pgtable_l4_enabled ? p4d_pgtable(*p4d) + pud_index(address) :
				    (pud_t *)p4d;
}

#undef p4d_offset_lockless
#undef pud_offset_lockless
#define p4d_offset_lockless(pgdp, pgd, address) lkm_p4d_offset(&(pgd), address)
#define pud_offset_lockless(p4dp, p4d, address) lkm_pud_offset(&(p4d), address)
#endif

/*
 * page->flags: v6.18, 53fbef56e07d ("mm: introduce memdesc_flags_t"). One word,
 * which has a struct around it since; the cast does for both.
 * Probe: none. Goes with 6.17.
 */
static inline unsigned long page_flags(const struct page *page)
{
	return READ_ONCE(*(const unsigned long *)&page->flags);
}

/**
 * page_mappings() - how many page table entries map a page
 * @page: a page the caller holds a reference to
 *
 * What /proc/kpagecount shows: mappings of the page itself, and of the huge
 * page it is a part of.
 *
 * page_mapcount(): v6.2, cb67f4282bf9 ("mm,thp,rmap: simplify compound page
 * mapcount handling"). Since then it is the sum below, and from v6.12 on it is
 * no longer there.
 * Probe: version. Goes with 6.1.
 */
static inline int page_mappings(struct page *page)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	return page_mapcount(page);
#else
	/* A negative count is no count: typed pages keep their type there. */
	int count = max(atomic_read(&page->_mapcount) + 1, 0);

	if (PageCompound(page))
		count += folio_entire_mapcount(page_folio(page));
	return count;
#endif
}

/*
 * folio_test_ksm(): v6.13, b9a256352f3b ("mm: remove PageKsm()"). Before, the page
 * itself was asked.
 * Probe: version. Goes with 6.12.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define page_is_ksm(page)	PageKsm(page)
#else
#define page_is_ksm(page)	folio_test_ksm(page_folio(page))
#endif

/*
 * file_user_path(): v6.7, def3ae83da02 ("fs: store real path instead of fake
 * path in backing file f_path"). What a process mapped by a name on overlayfs
 * is another file below; before, that one carried the name itself.
 * Probe: version. Goes with 6.6.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
#define file_user_path(file)	(&(file)->f_path)
#endif

/**
 * task_calls() - the functions that a task is in, the innermost first
 * @task: a task, held by a reference
 * @calls: where their return addresses go
 * @n: room for so many
 *
 * stack_trace_save_tsk(): v6.7, 7d672f40941a ("stacktrace: Export
 * stack_trace_save_tsk"). Before, it was not for modules; and a kernel may be built
 * without it.
 * Probe: version, CONFIG_STACKTRACE. Goes with 6.6.
 *
 * Return: how many there are; 0: none, the stack is gone; -1: modules cannot
 * know.
 */
static inline int task_calls(struct task_struct *task, unsigned long *calls, int n)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0) || !defined(CONFIG_STACKTRACE)
	return -1;
#else
	return stack_trace_save_tsk(task, calls, n, 0);
#endif
}

/**
 * mm_counters() - the memory counters of an address space, exact
 * @mm: the address space; the caller keeps it from going, by a reference or
 *      by task_lock() of a task that uses it
 * @task: a task whose threads use @mm, held by a reference or under RCU
 * @refs: references to @mm that the caller itself holds
 * @count: where the values go, by MM_*: pages, and for MM_SWAPENTS swap entries;
 *         to be clamped at 0
 *
 * Exact for a process that does not run meanwhile.
 *
 * mm->rss_stat: v6.2, f1a7941243c1 ("mm: convert mm's rss stats into
 * percpu_counter"). The exact value is the sum over the CPUs since.
 * (get_mm_counter_sum() says so in one name, but came through stable backports:
 * no version tells where it is.)
 *
 * Before, each thread kept up to TASK_RSS_EVENTS_THRESH = 64 events to itself
 * (SPLIT_RSS_COUNTING), and the value is the shared counter and all of those.
 * The shared counter alone can be below 0. Threads of another process may use
 * the same mm (vfork, CLONE_VM): more users than we know of say so.
 *
 * Probe: version, SPLIT_RSS_COUNTING. Goes with 6.1. It is always true then, and
 * mm_counters_of_sharers() goes, too.
 *
 * Return: whether that is all. If not, other processes' threads have a part,
 * and @count is without any thread's: see mm_counters_of_sharers().
 */
static inline bool mm_counters(struct mm_struct *mm, struct task_struct *task,
			       int refs, long *count)
{
	int i;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	/* With constant indices there is none that a kernel may want to be checked. */
#pragma GCC unroll 4
	for (i = 0; i < NR_MM_COUNTERS; i++)
		count[i] = percpu_counter_sum(&mm->rss_stat[i]);
#else
	for (i = 0; i < NR_MM_COUNTERS; i++)
		count[i] = atomic_long_read(&mm->rss_stat.count[i]);
#ifdef SPLIT_RSS_COUNTING
	{
		int users = atomic_read(&mm->mm_users) - refs;
		long cached[NR_MM_COUNTERS] = { };
		struct task_struct *thread;

		rcu_read_lock();
		for_each_thread(task, thread) {
			if (READ_ONCE(thread->mm) != mm)
				continue;
			users--;
			for (i = 0; i < NR_MM_COUNTERS; i++)
				cached[i] += READ_ONCE(thread->rss_stat.count[i]);
		}
		rcu_read_unlock();
		if (users > 0)
			return false;
		for (i = 0; i < NR_MM_COUNTERS; i++)
			count[i] += cached[i];
	}
#endif
#endif
	return true;
}

/**
 * mm_counters_of_sharers() - add what all threads of an mm have counted
 * @mm: the address space; only compared, so it need not be held
 * @count: what mm_counters() left, when it said that it was not all
 *
 * Looks at every thread of the system: not to be called under a lock. Of a
 * process that has ended since, the mm may be another's by now; who does not
 * hold it adds a stranger's share then, to the figure of a process that is no
 * more.
 */
static inline void mm_counters_of_sharers(const struct mm_struct *mm, long *count)
{
#ifdef SPLIT_RSS_COUNTING
	struct task_struct *process, *thread;
	int i;

	rcu_read_lock();
	for_each_process_thread(process, thread) {
		if (READ_ONCE(thread->mm) != mm)
			continue;
		for (i = 0; i < NR_MM_COUNTERS; i++)
			count[i] += READ_ONCE(thread->rss_stat.count[i]);
	}
	rcu_read_unlock();
#endif
}

#endif /* LKM_COMPAT_H */
