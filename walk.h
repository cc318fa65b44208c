/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * walk.h - a process's address space: its mappings, and the one page walk
 *
 *	lock_mappings()	take the mmap lock and copy the list of mappings
 *	print_vma()	the line of one of them
 *	walk_address()	what the page tables say of one virtual address
 *	look_at()	what they say of as many as one table of PTEs covers
 *	look_next()	that, stretch by stretch
 *	look_resident()	how much of it is in memory
 *
 * The walk collects and decides, and prints nothing. Its protocol, which no test
 * can hold (millions of walks went well without it):
 *
 *	mmap lock -> a mapping covers the address -> interrupts off ->
 *	READ_ONCE() of each level into a local copy -> interrupts on -> unlock
 *
 * The mmap lock keeps the mapping, and an address that no mapping covers has
 * no such keeper and is never walked. It does not keep tables of PTEs:
 * khugepaged, and on newer kernels madvise(), free them under our feet; hugetlb
 * lets go of a shared table of PMDs. What keeps these is that they are freed
 * after an RCU grace period or an interrupt to every CPU, which ours cannot
 * take part in with interrupts off. (Not by the TLB flush: the process is
 * another's, so its flushes do not ask our CPU.) Of hugetlb's that holds since
 * the mending of CVE-2025-38085, which fast GUP needed, too; before it, nothing
 * that a module can do would keep them. Each level is read once, and the walk
 * goes on from that copy.
 */
#ifndef LKM_WALK_H
#define LKM_WALK_H

#include <linux/hugetlb.h>
#include <linux/irqflags.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "arch.h"
#include "report.h"

/* ---- mappings --------------------------------------------------------- */

struct mapping {
	unsigned long start;
	unsigned long end;	/* first address behind it */
	unsigned long flags;	/* VM_READ and so on */
	unsigned long resident;	/* bytes in memory, where they were counted */
};

/**
 * struct mappings - the mappings of an address space
 * @list: in order of addresses; NULL when not wanted
 * @n: how many there are
 */
struct mappings {
	struct mapping *list;
	size_t n;
};

/* How many there are; no more than the first @room of them are copied. */
static inline size_t copy_mappings(struct mm_struct *mm, struct mapping *list,
				   size_t room)
{
	struct vm_area_struct *vma;
	size_t n = 0;
	VMA_ITERATOR(vmi, mm, 0);

	for_each_vma(vmi, vma) {
		if (n < room)
			list[n] = (struct mapping){
				vma->vm_start, vma->vm_end, vma->vm_flags };
		n++;
	}
	return n;
}

/**
 * lock_mappings() - take the mmap lock for reading, and copy the mappings
 * @mm: the address space
 * @maps: where they go; @maps->list is the caller's to kvfree(), also after
 *        an error
 * @want_list: false: only count them
 *
 * Return: 0 with the lock held, or -EINTR or -ENOMEM without it.
 */
static inline int lock_mappings(struct mm_struct *mm, struct mappings *maps,
				bool want_list)
{
	size_t room = READ_ONCE(mm->map_count) + 16;

	for (;;) {
		if (want_list) {
			maps->list = kvmalloc_array(room, sizeof(*maps->list),
						    GFP_REPORT);
			if (!maps->list)
				return -ENOMEM;
		}
		if (mmap_read_lock_killable(mm))
			return -EINTR;
		maps->n = mm->map_count;
		if (!want_list)
			return 0;
		maps->n = copy_mappings(mm, maps->list, room);
		if (maps->n <= room)
			return 0;
		mmap_read_unlock(mm);
		kvfree(maps->list);
		maps->list = NULL;
		room = maps->n + maps->n / 8;
	}
}

#define SIZE_LEN 16

static __always_inline char *put_any_size(char *to, unsigned long bytes)
{
	bool small = bytes < SZ_1M, large = bytes >= SZ_1G;

	to = put_decimal(to, bytes >> (small ? 10 : large ? 30 : 20));
	to = put_char(put_char(to, ' '), small ? 'k' : large ? 'G' : 'M');
	return put_char(to, 'B');
}

/* put_size() - "4 kB", "2 MB", "1 GB"; less than SIZE_LEN bytes */
static inline char *put_size(char *to, unsigned long bytes)
{
	/* What most pages have: the compiler knows the text. */
	if (bytes == PAGE_SIZE)
		return put_any_size(to, PAGE_SIZE);
	return put_any_size(to, bytes);
}

/* size_name() - the same as a string; @buf has room for SIZE_LEN */
static inline const char *size_name(char *buf, unsigned long bytes)
{
	*put_size(buf, bytes) = '\0';
	return buf;
}

/*
 * put_rights() - "rwx". Always inline, as what follows it in a row of a range: it is a
 * few instructions, of which there are rows by the ten thousand.
 */
static __always_inline char *put_rights(char *to, unsigned long flags)
{
	static const char rights[][4] = {
		"---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx" };

	static_assert(VM_READ == 1 && VM_WRITE == 2 && VM_EXEC == 4);
	return put_bytes(to, rights[flags & 7], 3);
}

/* put_all_rights() - "rwxp" as in /proc/PID/maps */
static inline char *put_all_rights(char *to, unsigned long flags)
{
	return put_char(put_rights(to, flags), flags & VM_MAYSHARE ? 's' : 'p');
}

#define RIGHTS_LEN sizeof("rwxp")

/* rights() - the same as a string; @buf has room for RIGHTS_LEN */
static inline const char *rights(char *buf, unsigned long flags)
{
	*put_all_rights(buf, flags) = '\0';
	return buf;
}

/* print_vma() - the line of the @i-th mapping; @maps has the list */
static inline void print_vma(struct out *out, const struct mappings *maps,
			     size_t i, bool resident)
{
	const struct mapping *map = &maps->list[i];
	char *to = line_begin(out);

	to = put_hex(put_text(to, "VM START = "), map->start);
	to = put_hex(put_text(to, " VM END = "), map->end);
	to = put_all_rights(put_text(to, " | "), map->flags);
	if (resident)
		to = put_decimal(put_text(to, " | RSS = "), map->resident >> 10);
	line_end(out, to);
}

/* print_vmas() - how many there are */
static inline void print_vmas(struct out *out, const struct mappings *maps)
{
	char *to = put_text(line_begin(out), "Number of VMAs = ");

	line_end(out, put_decimal(to, maps->n));
}

/* ---- the page walk ---------------------------------------------------- */

/**
 * struct entry - an entry of a page table
 * @address: kernel virtual address it lies at
 * @index: its number in the table
 * @value: what it was, once
 */
struct entry {
	unsigned long address;
	unsigned int index;
	u64 value;
};

enum verdict {
	MAPPED,
	NO_VMA,
	NOT_MAPPED,	/* empty: never touched, dropped since, or only cached */
	SWAPPED,
	MIGRATING,
	POISONED,
	DEVICE,
	MARKER,
	VERDICTS
};

/**
 * struct page_facts - what struct page says of a mapped page
 * @known: the rest holds; false where there is no struct page, or none could
 *         be held
 * @refcount: references without ours, of the whole (huge) page
 * @mapcount: page table entries that map this very page
 * @flags: page->flags of the head page, PG_* by bit number
 * @anon: memory of processes, not of a file
 * @ksm: one page for all that wrote the same into theirs
 * @hugetlb: out of the pool of huge pages
 */
struct page_facts {
	bool known;
	int refcount;
	int mapcount;
	unsigned long flags;
	bool anon;
	bool ksm;
	bool hugetlb;
};

/**
 * struct target - where an entry leads
 * @verdict: whether to a page, or why not
 * @size: MAPPED: bytes that the entry maps
 * @phys: MAPPED: physical address of the byte that was asked for
 * @joined: MAPPED: bytes that the entries around it map as well, which the CPU
 *          may take for one page (arm64's CONT); 0: it stands by itself
 * @swap: SWAPPED: the number of the swap area, and the page slot in it
 * @absent: not MAPPED: what the entry is, in the kernel's words; NULL: empty
 * @no_access: a page with its rights taken away (PROT_NONE, NUMA hint)
 * @zero: the page of zeroes that stands in for memory only read so far
 * @huge_zero: the huge one of them
 * @special: memory without a struct page that we may touch
 */
struct target {
	enum verdict verdict;
	bool no_access;
	bool zero;
	bool huge_zero;
	bool special;
	unsigned long size;
	phys_addr_t phys;
	unsigned long joined;
	swp_entry_t swap;
	const char *absent;
};

/**
 * struct walk - a virtual address and what its page tables say of it
 * @va: the address
 * @entry: the entries that were read, from the top; of levels that are folded
 *         into one, each has that one's entry
 * @levels: how many
 * @mapped: whether the last one maps a page
 * @span: bytes of addresses that the last one speaks for
 * @to: where it leads
 * @page: the page there
 */
struct walk {
	unsigned long va;
	struct entry entry[LEVELS];
	int levels;
	bool mapped;
	unsigned long span;
	struct target to;
	struct page_facts page;
};

/*
 * A level that is folded into another one repeats its entry. Mostly that is the
 * level below, whose *_offset() then gives the entry above as its own, or
 * @copy, which is the local copy of that. Where arm64 folds at run time it is
 * the level above: the one table is that of the level below. No table shares
 * its page with the next one down.
 */
static inline void walk_step(struct walk *walk, const void *entry,
			     const void *copy, u64 value, unsigned int index)
{
	unsigned long address = (unsigned long)entry;
	int i = walk->levels++;
	struct entry *steps = walk->entry;

	if (i && entry == copy) {
		steps[i] = steps[i - 1];
		return;
	}
	/* The same entry, read again: the walk goes on from what it says now. */
	if (i && address == steps[i - 1].address)
		index = steps[i - 1].index;
	steps[i] = (struct entry){ address, index, value };
	for (; i && !((steps[i - 1].address ^ address) & PAGE_MASK); i--)
		steps[i - 1] = steps[i];
}

static inline void walk_ends(struct walk *walk, bool mapped, unsigned long span)
{
	int last = walk->levels - 1;

	/* The first of folded levels counts as present, whatever its entry says. */
	while (!mapped && last &&
	       walk->entry[last].address == walk->entry[last - 1].address)
		last--;
	walk->levels = last + 1;
	walk->mapped = mapped;
	walk->span = span;
}

/*
 * A 1 GB page. On x86 and riscv pud_present() is false for one with PROT_NONE,
 * but it is laid out as a small one's; and where a PROT_NONE leaf is not called a
 * leaf, it is no good table either.
 */
static inline bool pud_is_page(pud_t pud)
{
	if (pud_present(pud))
		return pud_leaf(pud) || pud_bad(pud);
	return pte_present(__pte(pud_val(pud)));
}

static inline bool pmd_is_page(pmd_t pmd)
{
	return pmd_present(pmd) && (pmd_leaf(pmd) || pmd_bad(pmd));
}

/* Bytes of addresses that a PTE speaks for. */
static inline unsigned long pte_span(pte_t pte)
{
	return pte_present(pte) ? pte_size(pte) : PAGE_SIZE;
}

/* The lower three levels, from the copy of the entry above them. */
static inline void walk_pud(p4d_t *p4dp, p4d_t p4d, struct walk *walk)
{
	unsigned long va = walk->va;
	pud_t *pudp = pud_offset_lockless(p4dp, p4d, va);
	pud_t pud = READ_ONCE(*pudp);
	pmd_t *pmdp, pmd;
	pte_t *ptep, pte;

	walk_step(walk, pudp, &p4d, pud_val(pud), pud_index(va));
	if (pud_is_page(pud))
		return walk_ends(walk, true, PUD_SIZE);
	if (!pud_present(pud))
		return walk_ends(walk, false, PUD_SIZE);

	pmdp = pmd_offset_lockless(pudp, pud, va);
	pmd = READ_ONCE(*pmdp);
	walk_step(walk, pmdp, &pud, pmd_val(pmd), pmd_index(va));
	if (pmd_is_page(pmd))
		return walk_ends(walk, true, PMD_SIZE);
	if (!pmd_present(pmd))
		return walk_ends(walk, false, PMD_SIZE);

	ptep = pte_offset_kernel(&pmd, va);
	pte = READ_ONCE(*ptep);
	walk_step(walk, ptep, &pmd, pte_val(pte), pte_index(va));
	walk_ends(walk, pte_present(pte), pte_span(pte));
}

/* Interrupts are off, and a mapping covers the address: see the head of this file. */
static inline void walk_levels(struct mm_struct *mm, struct walk *walk)
{
	unsigned long va = walk->va;
	pgd_t *pgdp = pgd_offset(mm, va);
	pgd_t pgd = READ_ONCE(*pgdp);
	p4d_t *p4dp, p4d;

	walk->levels = 0;
	walk_step(walk, pgdp, NULL, pgd_val(pgd), pgd_index(va));
	if (!pgd_present(pgd))
		return walk_ends(walk, false, PGDIR_SIZE);
	p4dp = p4d_offset_lockless(pgdp, pgd, va);
	p4d = READ_ONCE(*p4dp);
	/* Where this level is folded, not every kernel has a p4d_index(). */
	walk_step(walk, p4dp, &pgd, p4d_val(p4d), offset_in_page(p4dp) / sizeof(p4d));
	if (!p4d_present(p4d))
		return walk_ends(walk, false, P4D_SIZE);
	walk_pud(p4dp, p4d, walk);
}

/* ---- where an entry leads --------------------------------------------- */

/*
 * Nothing present: what the entry says instead. The entries of huge pages are
 * laid out as those of small ones where they are not present.
 */
static inline void read_absent(struct target *to, u64 value)
{
	softleaf_t entry = softleaf_from_pte(__pte(value));

	if (softleaf_is_migration(entry)) {
		to->verdict = MIGRATING;
		to->absent = "migration";
	} else if (softleaf_is_hwpoison(entry)) {
		to->verdict = POISONED;
		to->absent = "hwpoison";
	} else if (softleaf_is_poison_marker(entry)) {
		to->verdict = POISONED;
		to->absent = "poison marker";
	} else if (softleaf_is_device_private(entry)) {
		to->verdict = DEVICE;
		to->absent = "device private";
	} else if (softleaf_is_device_exclusive(entry)) {
		to->verdict = DEVICE;
		to->absent = "device exclusive";
	} else if (softleaf_is_marker(entry)) {
		to->verdict = MARKER;
		to->absent = marker_name(entry);
	} else {
		to->verdict = SWAPPED;
		to->absent = "swap";
		to->swap = entry;
	}
}

static inline unsigned long entry_pfn(u64 value, enum level level)
{
	switch (level) {
	case LEVEL_PUD:
		return pud_pfn(__pud(value));
	case LEVEL_PMD:
		return pmd_pfn(__pmd(value));
	default:
		return pte_pfn(__pte(value));
	}
}

/**
 * read_target() - where an entry leads; inline, for pages by the million
 * @to: filled in; whether it is the huge zero page only the page can tell
 * @value: the entry
 * @level: the level it was found at
 * @size: bytes that it maps; 0: none
 * @va: the address that was asked for
 * @flags: the mapping's, VM_READ and so on
 */
static __always_inline void read_target(struct target *to, u64 value,
					enum level level, unsigned long size,
					unsigned long va, unsigned long flags)
{
	bool small = level == LEVEL_PTE, zero;
	unsigned long pfn;

	if (!size) {
		*to = (struct target){ .verdict = NOT_MAPPED };
		if (!pte_none(__pte(value)))
			read_absent(to, value);
		return;
	}
	pfn = entry_pfn(value, level) + (va & (size - 1)) / PAGE_SIZE;
	zero = small && is_zero_pfn(pfn);
	/* With all members there: else the compiler clears them first, by rep stos. */
	*to = (struct target){
		.verdict = MAPPED,
		.size = size,
		.phys = PFN_PHYS(pfn) + offset_in_page(va),
		.joined = joined_size(value, level),
		.no_access = entry_protnone(value),
		.zero = zero,
		.huge_zero = false,
		/* A PTE that is not special has a struct page, for the kernel, too. */
		.special = small ? !zero && pte_special(__pte(value)) :
				   !pfn_valid(pfn) || flags & VM_PFNMAP,
		.swap.val = 0,
		.absent = NULL,
	};
}

/* ---- that, in words --------------------------------------------------- */

static const char * const reasons[VERDICTS] = {
	[NO_VMA] = "no VMA here",
	[NOT_MAPPED] = "not mapped",
	[SWAPPED] = "swapped out",
	[MIGRATING] = "being migrated",
	[POISONED] = "poisoned",
	[DEVICE] = "device memory",
	[MARKER] = "marker",
};

/* put_reason() - why there is no page; 100 bytes at most */
static inline char *put_reason(char *to, const struct target *target)
{
	to = put_text(to, reasons[target->verdict]);
	if (target->verdict != SWAPPED)
		return to;
	to = put_decimal(put_text(to, " (type "), swp_type(target->swap));
	to = put_hex(put_text(to, ", offset 0x"), swp_offset(target->swap));
	return put_char(to, ')');
}

/* put_remarks() - what is to be said of a page; 100 bytes at most */
static __always_inline char *put_remarks(char *to, const struct target *target)
{
	if (target->no_access)
		to = put_text(to, " | not accessible (PROT_NONE)");
	if (target->zero)
		to = put_text(to, " | zero page");
	if (target->huge_zero)
		to = put_text(to, " | huge zero page");
	if (target->special)
		to = put_text(to, " | special (no struct page)");
	return to;
}

/* put_contiguity() - of what a page is a part; 40 bytes at most */
static __always_inline char *put_contiguity(char *to, const struct target *target)
{
	if (!target->joined)
		return to;
	to = put_size(put_text(to, " | contiguous ("), target->joined);
	return put_char(to, ')');
}

/* ---- the page behind a translation ------------------------------------ */

/*
 * Take a reference to the page that the walk came to, as get_user_pages_fast()
 * does: only a page that somebody still holds, and then look whether the tables
 * still lead to it. Interrupts are still off.
 *
 * Return: the head page, held; NULL: none. @same is whether it is the right one.
 */
static inline struct page *walk_hold(struct mm_struct *mm, const struct walk *walk,
				     bool *same)
{
	struct page *page = pfn_to_page(PHYS_PFN(walk->to.phys));
	struct page *head = compound_head(page);
	struct walk again = { .va = walk->va };

	if (!get_page_unless_zero(head))
		return NULL;
	walk_levels(mm, &again);
	*same = again.levels == walk->levels && compound_head(page) == head &&
		again.entry[again.levels - 1].value ==
		walk->entry[walk->levels - 1].value;
	return head;
}

static inline void copy_page_facts(struct walk *walk, struct page *head,
				   struct vm_area_struct *vma)
{
	struct page *page = pfn_to_page(PHYS_PFN(walk->to.phys));

	walk->page = (struct page_facts){
		.known = true,
		.refcount = page_ref_count(head) - 1,
		.mapcount = page_mappings(page),
		.flags = page_flags(head),
		.anon = PageAnon(head),
		.ksm = page_is_ksm(head),
		.hugetlb = is_vm_hugetlb_page(vma),
	};
	/*
	 * No module can ask for the huge zero page by name. (DAX maps it into
	 * files, too, where it passes for a page of the file.)
	 */
	walk->to.huge_zero = walk->to.size == PMD_SIZE && !walk->page.anon &&
			  vma_is_anonymous(vma);
}

/*
 * One try.
 *
 * Return: whether it must be made again, because the page was being taken away.
 */
static inline bool walk_try(struct mm_struct *mm, struct vm_area_struct *vma,
			    struct walk *walk)
{
	struct page *head = NULL;
	bool same = false, again;
	unsigned long irq;

	local_irq_save(irq);
	walk_levels(mm, walk);
	read_target(&walk->to, walk->entry[walk->levels - 1].value,
		    walk->levels - 1, walk->mapped ? walk->span : 0, walk->va,
		    vma->vm_flags);
	again = walk->mapped && !walk->to.special &&
		pfn_valid(PHYS_PFN(walk->to.phys));
	if (again)
		head = walk_hold(mm, walk, &same);
	local_irq_restore(irq);
	if (!head)
		return again;
	if (same)
		copy_page_facts(walk, head, vma);
	/* Not with interrupts off: ours may be the last reference. */
	put_page(head);
	return !same;
}

/**
 * walk_address() - walk an address through the page tables
 * @mm: the address space; the caller holds a reference and the mmap lock
 * @vma: the mapping that covers the address, or NULL
 * @walk: @walk->va is the address, the rest is zeroed, and filled in here
 *
 * A page that is being taken away at each of a few tries keeps @walk->page
 * unknown; the translation itself is that of the last try.
 */
static inline void walk_address(struct mm_struct *mm, struct vm_area_struct *vma,
				struct walk *walk)
{
	int tries = 8;

	walk->to.verdict = NO_VMA;
	if (!vma)
		return;
	while (tries-- && walk_try(mm, vma, walk))
		cpu_relax();
}

/* ---- many addresses --------------------------------------------------- */

/**
 * struct look - what one look at an address space saw
 * @va: the first address
 * @end: the first one that it says nothing of
 * @map: the mapping that covers them all; @map.end is 0 where there is none
 * @walk: the walk of @va
 * @n: how many PTEs were copied, from that of @va on; 0: the last entry of @walk
 *     speaks for all addresses
 * @again: how often the table was no longer the process's own once it was copied
 * @pte: the PTEs
 */
struct look {
	unsigned long va;
	unsigned long end;
	struct mapping map;
	struct walk walk;
	unsigned int n;
	unsigned int again;
	pte_t pte[PTRS_PER_PTE];
};

static inline void copy_ptes(pte_t *to, const pte_t *from, unsigned int n)
{
	unsigned int i;

#pragma GCC unroll 8
	for (i = 0; i < n; i++)
		to[i] = READ_ONCE(from[i]);
}

/* Return: whether it was another table by the time that all was copied. */
static inline bool look_at_table(struct mm_struct *mm, struct look *look)
{
	struct walk again = { .va = look->va };
	unsigned long irq, last = look->va | (PMD_SIZE - 1);
	bool changed;

	local_irq_save(irq);
	walk_levels(mm, &look->walk);
	if (look->walk.levels < LEVELS) {
		local_irq_restore(irq);
		return false;
	}
	if (last < look->end - 1)
		look->end = last + 1;
	look->n = (look->end - look->va) >> PAGE_SHIFT;
	copy_ptes(look->pte, (pte_t *)look->walk.entry[LEVEL_PTE].address, look->n);
	walk_levels(mm, &again);
	changed = again.levels < LEVELS || again.entry[LEVEL_PTE].address !=
					   look->walk.entry[LEVEL_PTE].address;
	local_irq_restore(irq);
	return changed;
}

/* The mmap lock is held, and @vma covers the first address. */
static inline void look_into(struct mm_struct *mm, struct vm_area_struct *vma,
			     struct look *look)
{
	unsigned long end = look->end;

	look->map = (struct mapping){ vma->vm_start, vma->vm_end, vma->vm_flags };
	for (;;) {
		look->end = min(end, vma->vm_end);
		look->n = 0;
		if (!look_at_table(mm, look))
			break;
		if (++look->again == 8)
			return;
	}
	if (look->n)
		return;
	/* No table, or no longer: one entry for all, and a page to be asked. */
	walk_address(mm, vma, &look->walk);
	look->end = min(look->end, (look->va | (look->walk.span - 1)) + 1);
}

/**
 * look_at() - look at the addresses from one on
 * @mm: the address space; held by mmgrab() at least
 * @va: the first address, a page's
 * @end: the last address that is wanted, and one; a page's
 * @look: what was seen; its @end tells how far it goes
 *
 * As far as one table of PTEs goes (2 MB with 4 kB pages), or one entry of a
 * higher level, or a gap between mappings: the mmap lock is held no longer. Who
 * looks, looks again and again: so the CPU is yielded first, and SIGKILL heeded.
 *
 * Return: 0; or, with nothing seen, -ESRCH: no process uses the address space any
 * more; -EINTR
 */
static inline int look_at(struct mm_struct *mm, unsigned long va,
			  unsigned long end, struct look *look)
{
	struct vm_area_struct *vma;

	look->va = va;
	look->end = va;		/* nothing, until something is seen */
	look->map = (struct mapping){ };
	look->walk = (struct walk){ .va = va, .to.verdict = NO_VMA };
	look->n = 0;
	look->again = 0;
	if (fatal_signal_pending(current))
		return -EINTR;
	cond_resched();
	if (!mmget_not_zero(mm))
		return -ESRCH;
	if (mmap_read_lock_killable(mm)) {
		mmput(mm);
		return -EINTR;
	}
	look->end = end;
	vma = find_vma(mm, va);
	if (vma && vma->vm_start <= va)
		look_into(mm, vma, look);
	else if (vma)
		look->end = min(end, vma->vm_start);
	mmap_read_unlock(mm);
	mmput(mm);
	return 0;
}

/**
 * struct stretch - addresses that one entry speaks for, or entries that are alike:
 * those of small pages in neighbouring frames, or empty ones
 * @va: the first
 * @end: the first behind them
 * @pages: how many pages they are, of whatever size; or empty entries
 * @to: where @va leads
 */
struct stretch {
	unsigned long va;
	unsigned long end;
	unsigned long pages;
	struct target to;
};

/*
 * How many of the PTEs at @pte are alike, and need not be decided of one by one. Only
 * ordinary small pages are, and empty entries: of two pages that are special, one may
 * have a struct page and the other none; and what a PROT_NONE entry has for the next
 * frame, or a larger page, differs by architecture.
 */
static inline unsigned int count_alike(const pte_t *pte, unsigned int n,
				       const struct target *to)
{
	bool ordinary = to->verdict == MAPPED && to->size == PAGE_SIZE &&
			!to->zero && !to->special && !to->no_access;
	u64 value = pte_val(pte[0]), step = ordinary ? FRAME_STEP : 0;
	unsigned int i;

	if (!ordinary && value)
		return 1;
#pragma GCC unroll 4
	for (i = 1; i < n; i++) {
		value += step;
		if (pte_val(pte[i]) != value)
			break;
	}
	return i;
}

/**
 * look_next() - the next stretch of what a look saw
 * @look: the look
 * @va: the address to go on from
 * @stretch: filled in
 *
 * Return: whether there is one.
 */
static __always_inline bool look_next(const struct look *look, unsigned long va,
				      struct stretch *stretch)
{
	unsigned int i = (va - look->va) >> PAGE_SHIFT;
	unsigned long last;
	pte_t pte;

	if (va >= look->end)
		return false;
	stretch->va = va;
	stretch->pages = 1;
	if (!look->n) {
		stretch->end = look->end;
		stretch->to = look->walk.to;
		return true;
	}
	/* As everyone sees it: what lies in the table may be for Xen alone. */
	pte = __pte(pte_val(look->pte[i]));
	read_target(&stretch->to, pte_val(pte), LEVEL_PTE,
		    pte_present(pte) ? pte_size(pte) : 0, va, look->map.flags);
	stretch->pages = count_alike(&look->pte[i], look->n - i, &stretch->to);
	last = va + (stretch->pages - 1) * PAGE_SIZE;
	stretch->end = min(look->end, (last | (pte_span(pte) - 1)) + 1);
	return true;
}

/* Pages on the way to another place, or taken over by a device, stay counted. */
static inline bool counts_in_rss(const struct target *to)
{
	if (to->verdict == MAPPED)
		return !to->zero && !to->huge_zero && !to->special;
	return to->verdict == MIGRATING || to->verdict == DEVICE;
}

/**
 * look_resident() - how much of what a look saw is in memory, as RSS has it
 * @look: the look
 *
 * What the kernel counts, and smaps with it: pages that are the process's or a
 * file's, but not the zero pages, not what has no struct page, and not hugetlb.
 *
 * Return: bytes.
 */
static inline unsigned long look_resident(const struct look *look)
{
	unsigned long va = look->va, bytes = 0;
	struct stretch stretch;

	if (look->map.flags & VM_HUGETLB)
		return 0;
	for (; look_next(look, va, &stretch); va = stretch.end)
		if (counts_in_rss(&stretch.to))
			bytes += stretch.end - stretch.va;
	return bytes;
}

#endif /* LKM_WALK_H */
