// SPDX-License-Identifier: GPL-2.0-only
/*
 * lkm4 - a virtual address, level by level, to its physical address
 *
 *	sudo insmod lkm4.ko pid=1 address=0x7f2878000abc; sudo dmesg -T | tail
 *	sudo rmmod lkm4
 *
 * prints the mappings of the process, the entry that each level of the page
 * tables has for the address, and where that leads:
 *
 *	PID: 1 | PROCESS: systemd
 *	VM START = 7f2886f76000 VM END = 7f2886f78000 | rw-p
 *	Number of VMAs = 157
 *	VALID PGD ADDRESS = ffff888004b267f8 | INDEX = 255 | ENTRY = 3fe74067 | present rw user accessed dirty
 *	... P4D, PUD, PMD, PTE: until an entry maps a page (1 GB, 2 MB, 4 kB) ...
 *	The virtual address 7f2878000abc maps to physical address 205018abc
 *	PAGE = 4 kB | pfn 205018 | refcount 2 | mapcount 1 | anon | dirty uptodate
 *	VMA = 7f2878000000-7f2878021000 rw-p [anon]
 *
 * A walk that ends at an entry with no page behind it shows that entry as
 * INVALID, with what it is instead, and the line below it says why there is no
 * physical address. An empty entry is `not mapped`: never touched, dropped since,
 * or only in the page cache or shmem's swap; the table cannot tell.
 *
 * What the bits of an entry mean, and which sizes a page can have, depends on
 * the architecture: see arch.h. On arm64 entries with the word `cont` make up
 * one larger page for the TLB, whose size stands behind `contiguous`, but each
 * maps its own part; a pointer's tag is no part of its address, and not shown.
 *
 * Two more questions, each with lines of its own (see the header named):
 *
 *	pid=1 address=0x7f2878000000 length=0x400000	what lies there? region.h
 *	phys=0x205018abc				who maps that? owners.h
 *
 * From: mm_struct: pgd, VMAs; the page tables; struct page.
 * Under: a reference to the task, then to its mm; the mmap lock; for the tables
 *	the protocol at the head of walk.h.
 * By hand: ./pagemap PID ADDRESS for frame, presence and swap slot;
 *	/proc/PID/maps for the mappings; /proc/kpagecount and /proc/kpageflags.
 *	tests/lkm4.py finds what a process wrote at the printed address of the
 *	machine's memory.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dcache.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/page-flags.h>

#include "arch.h"
#include "owners.h"
#include "region.h"
#include "report.h"
#include "walk.h"

PARAM(pid, "pid of the process (1 to 4194304, must be given, but for phys=)");
PARAM(address, "virtual address, best in hexadecimal as 0x7f2878000abc (0 to the end of user space, must be given, but for phys=)");
PARAM(length, "bytes from address= on: show all runs of pages there, not one walk (1 to the end of user space, default none)");
PARAM(phys, "physical address whose mappings are wanted, in place of pid=, address= and length= (0 to 18446744073709551615, default none)");
PARAM(vmas, "1: list the mappings; 0: only count them (0 or 1, default 1)");

enum question { ONE_ADDRESS, A_RANGE, THE_OWNERS };

struct facts {
	enum question question;
	struct region region;
	struct owners owners;
	unsigned long length;	/* bytes, of a range */
	pid_t pid;
	bool list_vmas;
	char comm[TASK_COMM_LEN];
	struct mappings maps;
	struct walk walk;
	struct mapping map;	/* the one that covers the address, if any */
	u64 offset;		/* bytes into the file, of the mapping's start */
	char *name;		/* of the file, made safe; NULL: none */
	char label[24];		/* what stands in place of a file's name */
};

struct params {
	struct param pid, address, length, phys, vmas;
};

static int ask_owners(struct facts *facts, const struct params *params)
{
	u64 phys;
	int err;

	if (*params->pid.text || *params->address.text || *params->length.text) {
		pr_err("phys= is asked of all processes: give it without pid=, address= and length=, or leave it out\n");
		return -EINVAL;
	}
	err = param_number(&params->phys, "phys", 0, PHYS_ADDR_MAX, &phys);
	facts->question = THE_OWNERS;
	facts->owners.phys = phys;
	return err;
}

static int ask_length(struct facts *facts, const struct params *params)
{
	u64 length;
	int err = param_number(&params->length, "length", 0, U64_MAX, &length);

	if (err || !*params->length.text)
		return err;
	if (!length) {
		pr_err("length=0: no range; give its bytes, 0x200000 for example, or leave it out\n");
		return -EINVAL;
	}
	facts->question = A_RANGE;
	facts->length = length;
	return 0;
}

static int ask(struct facts *facts)
{
	struct params params;
	u64 va;
	int err;

	kernel_param_lock(THIS_MODULE);
	params = (struct params){ pid_param, address_param, length_param,
				  phys_param, vmas_param };
	kernel_param_unlock(THIS_MODULE);
	err = param_flag(&params.vmas, "vmas", true, &facts->list_vmas);
	if (err)
		return err;
	if (*params.phys.text)
		return ask_owners(facts, &params);
	err = param_pid(&params.pid, 0, &facts->pid);
	if (err)
		return err;
	if (!*params.address.text) {
		pr_err("no address= given: give a virtual address, as /proc/%d/maps lists them, with 0x in front\n",
		       facts->pid);
		return -EINVAL;
	}
	err = param_number(&params.address, "address", 0, U64_MAX, &va);
	facts->walk.va = user_address(va);
	return err ?: ask_length(facts, &params);
}

/* ---- collect ---------------------------------------------------------- */

static const char *label_of(struct vm_area_struct *vma)
{
	const struct mm_struct *mm = vma->vm_mm;
	const char *name = NULL;

	if (vma->vm_ops && vma->vm_ops->name)
		name = vma->vm_ops->name(vma);	/* [vdso], [vvar] */
	if (name)
		return name;
	if (vma->vm_start < mm->brk && vma->vm_end > mm->start_brk)
		return "[heap]";
	if (vma->vm_start <= mm->start_stack && vma->vm_end >= mm->start_stack)
		return "[stack]";
	return "[anon]";
}

/* Return: the file, with a reference; NULL for memory without one. */
static struct file *copy_mapping(struct facts *facts, struct vm_area_struct *vma)
{
	facts->map = (struct mapping){ vma->vm_start, vma->vm_end, vma->vm_flags };
	if (vma->vm_file) {
		facts->offset = (u64)vma->vm_pgoff << PAGE_SHIFT;
		return get_file(vma->vm_file);
	}
	strscpy(facts->label, label_of(vma), sizeof(facts->label));
	return NULL;
}

/* Finding a path takes locks and memory, so it waits until ours is dropped. */
static int name_file(struct facts *facts, struct file *file)
{
	char *buf = kmalloc(PATH_MAX, GFP_REPORT);
	const char *path;
	size_t size;

	if (!buf)
		return -ENOMEM;
	path = d_path(file_user_path(file), buf, PATH_MAX);
	if (IS_ERR(path))
		path = "(name too long)";
	size = 4 * strlen(path) + 1;
	facts->name = kvmalloc(size, GFP_REPORT);
	if (facts->name)
		safe_string(facts->name, size, path);
	kfree(buf);
	return facts->name ? 0 : -ENOMEM;
}

static int collect_walk(struct facts *facts, struct mm_struct *mm)
{
	unsigned long va = facts->walk.va;
	struct vm_area_struct *vma;
	struct file *file = NULL;
	int err = lock_mappings(mm, &facts->maps, facts->list_vmas);

	if (err)
		return err;
	vma = find_vma(mm, va);
	if (vma && vma->vm_start > va)
		vma = NULL;
	walk_address(mm, vma, &facts->walk);
	if (vma)
		file = copy_mapping(facts, vma);
	mmap_read_unlock(mm);
	if (!file)
		return 0;
	err = name_file(facts, file);
	fput(file);
	return err;
}

/* Whole pages: those that the first and the last byte are in, too. */
static int collect_range(struct facts *facts, struct mm_struct *mm)
{
	unsigned long va = facts->walk.va;
	int err;

	if (facts->length > mm->task_size - va) {
		pr_err("length=0x%lx: runs past the user space of pid %d; give 0x%lx at most\n",
		       facts->length, facts->pid, mm->task_size - va);
		return -EINVAL;
	}
	facts->region.pid = facts->pid;
	facts->region.start = va & PAGE_MASK;
	facts->region.end = PAGE_ALIGN(va + facts->length);
	err = lock_mappings(mm, &facts->maps, facts->list_vmas);
	if (err)
		return err;
	mmap_read_unlock(mm);
	return region_start(&facts->region, mm);
}

static int collect_mm(struct facts *facts, struct mm_struct *mm)
{
	if (facts->walk.va >= mm->task_size) {
		pr_err("address=0x%lx: not in the user space of pid %d; give an address below 0x%lx\n",
		       facts->walk.va, facts->pid, mm->task_size);
		return -EINVAL;
	}
	if (facts->question == A_RANGE)
		return collect_range(facts, mm);
	return collect_walk(facts, mm);
}

static int collect(struct facts *facts)
{
	struct task_struct *task;
	struct mm_struct *mm;
	int err;

	if (facts->question == THE_OWNERS)
		return owners_start(&facts->owners, facts);
	task = find_task(facts->pid);
	if (IS_ERR(task))
		return PTR_ERR(task);
	copy_name(facts->comm, task);
	mm = find_mm(task, facts->pid);
	err = PTR_ERR_OR_ZERO(mm);
	if (err)
		goto put_task;
	err = collect_mm(facts, mm);
	mmput(mm);
put_task:
	put_task_struct(task);
	return err;
}

static void drop(struct facts *facts)
{
	region_drop(&facts->region);
	owners_drop(&facts->owners);
	kvfree(facts->maps.list);
	kvfree(facts->name);
}

/* ---- print ------------------------------------------------------------ */

static const struct word page_words[] = {
	WORD(BIT(PG_locked), "locked"),
	WORD(BIT(PG_referenced), "referenced"),
	WORD(BIT(PG_dirty), "dirty"),
	WORD(BIT(PG_uptodate), "uptodate"),
	WORD(BIT(PG_lru), "lru"),
	WORD(BIT(PG_active), "active"),
	WORD(BIT(PG_writeback), "writeback"),
	WORD(BIT(PG_reserved), "reserved"),
	WORD(BIT(PG_unevictable), "unevictable"),
	WORD(BIT(PG_mlocked), "mlocked"),
	{ }
};

static void print_entry(struct out *out, const struct walk *walk, enum level level)
{
	static const char names[LEVELS][4] = { "PGD", "P4D", "PUD", "PMD", "PTE" };
	const struct entry *entry = &walk->entry[level];
	bool last = level == walk->levels - 1, leaf = last && walk->mapped;
	char *to = line_begin(out);

	/* An entry that leads nowhere is laid out in another way. */
	if (last && !leaf)
		to = put_text(to, "IN");
	to = put_bytes(put_text(to, "VALID "), names[level], 3);
	to = put_hex(put_text(to, " ADDRESS = "), entry->address);
	to = put_decimal(put_text(to, " | INDEX = "), entry->index);
	to = put_hex(put_text(to, " | ENTRY = "), entry->value);
	if (leaf || !last)
		to = put_entry_words(put_text(to, " |"), entry->value, leaf, level);
	else if (walk->to.absent)
		to = put_text(put_text(to, " | "), walk->to.absent);
	if (leaf) {
		to = put_size(put_text(to, " | "), walk->to.size);
		to = put_contiguity(put_text(to, " page"), &walk->to);
	}
	line_end(out, to);
}

static void print_target(struct out *out, const struct walk *walk)
{
	const struct target *target = &walk->to;
	char *to = line_begin(out);

	to = put_hex(put_text(to, "The virtual address "), walk->va);
	if (target->verdict == MAPPED) {
		to = put_hex(put_text(to, " maps to physical address "), target->phys);
		to = put_remarks(to, target);
	} else {
		to = put_text(to, " maps to no physical address: ");
		to = put_reason(to, target);
	}
	line_end(out, to);
}

static const char *kind_of_page(const struct walk *walk)
{
	const struct page_facts *page = &walk->page;

	if (walk->to.zero || walk->to.huge_zero)
		return "zero";
	if (page->hugetlb)
		return "hugetlb";
	if (page->ksm)
		return "ksm";
	if (page->anon)
		return "anon";
	return page->flags & BIT(PG_swapbacked) ? "shmem" : "file";
}

static void print_page(struct out *out, const struct walk *walk)
{
	const struct page_facts *page = &walk->page;
	char *to = put_text(line_begin(out), "PAGE = "), *words;

	to = put_size(to, walk->to.size);
	to = put_hex(put_text(to, " | pfn "), PHYS_PFN(walk->to.phys));
	to = put_int(put_text(to, " | refcount "), page->refcount);
	to = put_int(put_text(to, " | mapcount "), page->mapcount);
	to = put_text(put_text(to, " | "), kind_of_page(walk));
	words = put_text(to, " |");
	to = put_words(words, page->flags, page_words);
	line_end(out, to == words ? words - strlen(" |") : to);
}

static void print_mapping(struct out *out, const struct facts *facts)
{
	const struct mapping *map = &facts->map;
	char buf[RIGHTS_LEN], *to;

	if (facts->name) {
		/* The name last: its owner may have put anything into it. */
		report_line(out, "VMA = %lx-%lx %s offset %llx %s", map->start,
			    map->end, rights(buf, map->flags), facts->offset,
			    facts->name);
		return;
	}
	to = put_hex(put_text(line_begin(out), "VMA = "), map->start);
	to = put_hex(put_char(to, '-'), map->end);
	to = put_all_rights(put_char(to, ' '), map->flags);
	line_end(out, put_text(put_char(to, ' '), facts->label));
}

/* Out of line: its stack is not for the rows of a range. */
static noinline void print_walk(struct out *out, const struct facts *facts)
{
	const struct walk *walk = &facts->walk;
	int level;

	for (level = 0; level < walk->levels; level++)
		print_entry(out, walk, level);
	print_target(out, walk);
	if (walk->page.known)
		print_page(out, walk);
	if (walk->to.verdict != NO_VMA)
		print_mapping(out, facts);
}

/* ---- rows ------------------------------------------------------------- */

/* The row of the number of mappings, behind the name and those listed. */
static loff_t count_row(const struct facts *facts)
{
	return 1 + (facts->list_vmas ? facts->maps.n : 0);
}

static int next(struct facts *facts, loff_t row)
{
	loff_t beyond = row - count_row(facts) - 1;

	switch (facts->question) {
	case THE_OWNERS:
		return owners_next(&facts->owners, row);
	case A_RANGE:
		return beyond < 0 ? 1 : region_next(&facts->region, beyond);
	default:
		return beyond <= 0;
	}
}

static void print(struct out *out, const struct facts *facts, loff_t row)
{
	if (facts->question == THE_OWNERS)
		owners_print(out, &facts->owners);
	else if (row == 0)
		print_process(out, facts->pid, facts->comm);
	else if (row < count_row(facts))
		print_vma(out, &facts->maps, row - 1, false);
	else if (row == count_row(facts))
		print_vmas(out, &facts->maps);
	else if (facts->question == A_RANGE)
		region_print(out, &facts->region);
	else
		print_walk(out, facts);
}

static const struct report report = {
	.facts_size = sizeof(struct facts),
	.ask = ask,
	.collect = collect,
	.next = next,
	.print = print,
	.drop = drop,
	.loaded = "Virtual memory to physical memory info kernel module loaded",
	.removed = "Virtual memory module to physical memory info removed,Bye !!",
};

static int __init lkm4_init(void)
{
	return report_load();
}

static void __exit lkm4_exit(void)
{
	report_unload();
}

module_init(lkm4_init);
module_exit(lkm4_exit);
MODULE_DESCRIPTION("Walks a virtual address through the page tables to its physical address");
MODULE_LICENSE("GPL");
