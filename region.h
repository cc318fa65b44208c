/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * region.h - lkm4 with length=: what lies behind a range of addresses
 *
 *	VA 7f2878000000-7f2878200000 PA 205000000 | 512 x 4 kB | rw-
 *	VA 7f2878200000-7f2878400000 | not mapped
 *	TOTAL | 4 kB x 512 = 2048 kB | not mapped 2048 kB
 *
 *	region_start()	what it takes, for as long as the report is read
 *	region_next()	the next row: a run of pages, a gap, or the totals
 *	region_print()	that row
 *	region_drop()	what region_start() took
 *
 * A run is of pages that follow one another, in the address space and in memory,
 * and are alike; it ends where the mapping does, whose rights it shows. A gap is
 * of addresses with the same reason for having no page.
 *
 * The range may be a whole address space, so the rows are made one by one, from
 * one look after another: nothing is locked in between, and nothing but the last
 * look is kept. The process goes on, or ends. Each row is right for the moment
 * in which its addresses were looked at; LOOKED AGAIN counts how often something
 * else was found than the look before had told.
 *
 * A page that is only in part in the range is counted, and in kB with that part.
 */
#ifndef LKM_REGION_H
#define LKM_REGION_H

#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "report.h"
#include "walk.h"

/**
 * struct run - addresses that are alike
 * @at: what a look says of the first of them; but @at.end is behind the last, and 0
 *      where there is no run, and @at.pages are all
 * @flags: of the mapping that they are in
 * @first: whether they are the first in it
 */
struct run {
	struct stretch at;
	unsigned long flags;
	bool first;
};

/* The sizes that pages have: one for each level, and Svnapot's one. */
enum { SMALL, NAPOT, PMD, PUD, PAGE_SIZES };

struct totals {
	struct total {
		unsigned long size;	/* of a page; 0: none seen */
		unsigned long pages;
		unsigned long bytes;
	} mapped[PAGE_SIZES];
	unsigned long absent[VERDICTS];	/* bytes, by reason */
	unsigned long again;
};

/**
 * struct region - a range that is being reported
 * @mm: the address space, held by mmgrab() only: a process that ends while
 *      somebody reads shall give back its memory
 * @pid: whose it is
 * @start: the first address; a page's
 * @end: the first behind the range
 * @va: the first that no row speaks of yet
 * @look: the last look
 * @run: the row, which is none when it is the totals
 * @ahead: the beginning of the next one, where it was met already
 * @runs: those two, in turn
 * @totals: of all that was looked at
 * @row: number of the row, from 0; -1: none yet
 * @err: why there are no more rows, once that has been said
 */
struct region {
	struct mm_struct *mm;
	pid_t pid;
	unsigned long start;
	unsigned long end;
	unsigned long va;
	struct look *look;
	struct run *run;
	struct run *ahead;
	struct run runs[2];
	struct totals totals;
	loff_t row;
	int err;
};

static inline void region_rewind(struct region *region)
{
	region->va = region->start;
	region->look->end = 0;
	region->look->map.end = 0;
	region->run = &region->runs[0];
	region->run->at.end = 0;
	region->ahead = &region->runs[1];
	region->ahead->at.end = 0;
	region->totals = (struct totals){ };
	region->row = -1;
	region->err = 0;
}

/**
 * region_start() - begin to report a range
 * @region: filled in, but for its @pid, @start and @end, which are the caller's
 * @mm: the address space; the caller holds it
 *
 * Return: 0 or -ENOMEM; region_drop() is to be called in either case.
 */
static inline int region_start(struct region *region, struct mm_struct *mm)
{
	region->look = kvzalloc(sizeof(*region->look), GFP_REPORT);
	if (!region->look)
		return -ENOMEM;
	mmgrab(mm);
	region->mm = mm;
	region_rewind(region);
	return 0;
}

static inline void region_drop(struct region *region)
{
	if (region->mm)
		mmdrop(region->mm);
	kvfree(region->look);
}

/* ---- collect ---------------------------------------------------------- */

static inline void count_stretch(struct totals *totals, const struct stretch *stretch)
{
	unsigned long bytes = stretch->end - stretch->va, size = stretch->to.size;
	struct total *total = &totals->mapped[size == PAGE_SIZE ? SMALL :
					      size == PUD_SIZE ? PUD :
					      size == PMD_SIZE ? PMD : NAPOT];

	if (stretch->to.verdict != MAPPED) {
		totals->absent[stretch->to.verdict] += bytes;
		return;
	}
	total->size = size;
	total->pages += stretch->pages;
	total->bytes += bytes;
}

/* The mapping went on, said the look before, and has changed since. */
static inline bool mapping_changed(const struct mapping *old,
				   const struct mapping *new, unsigned long va)
{
	return old->end > va &&
	       (new->start != old->start || new->end != old->end ||
		new->flags != old->flags);
}

/* Return: 1; 0 at the end of the range; or an errno. */
static noinline int look_on(struct region *region)
{
	struct mapping before = region->look->map;
	int err;

	if (region->va >= region->end)
		return 0;
	err = look_at(region->mm, region->va, region->end, region->look);
	if (err)
		return err;
	region->totals.again += region->look->again +
		mapping_changed(&before, &region->look->map, region->va);
	return 1;
}

/*
 * What comes next, which may go on a run.
 *
 * Return: 1; 0 at the end of the range; or an errno.
 */
static inline int next_run(struct region *region, struct run *next)
{
	int more;

	while (!look_next(region->look, region->va, &next->at)) {
		more = look_on(region);
		if (more <= 0)
			return more;
	}
	next->flags = region->look->map.flags;
	next->first = region->look->map.start == region->va;
	region->va = next->at.end;
	count_stretch(&region->totals, &next->at);
	return 1;
}

static inline bool same_remarks(const struct target *a, const struct target *b)
{
	return a->no_access == b->no_access && a->zero == b->zero &&
	       a->huge_zero == b->huge_zero && a->special == b->special &&
	       a->joined == b->joined;
}

/* Whether @b leads to where @a goes on after so many bytes. */
static inline bool leads_on(const struct target *a, const struct target *b,
			    unsigned long bytes)
{
	if (a->verdict == MAPPED)
		return a->phys + bytes == b->phys && a->size == b->size &&
		       same_remarks(a, b);
	/* The offset is in the lower bits; it does not run into the number of the area. */
	if (a->verdict == SWAPPED)
		return a->swap.val + (bytes >> PAGE_SHIFT) == b->swap.val;
	return true;
}

/* Whether what comes behind a run belongs to it. */
static inline bool run_goes_on(const struct run *run, const struct run *next)
{
	const struct target *a = &run->at.to, *b = &next->at.to;

	if (a->verdict != b->verdict || !leads_on(a, b, next->at.va - run->at.va))
		return false;
	return a->verdict == NO_VMA || (!next->first && next->flags == run->flags);
}

/*
 * Return: 0, and the next run, if there is one more; or an errno, but not before
 * all that was looked at has been given.
 */
static inline int take_run(struct region *region)
{
	struct run *run = region->ahead, *ahead = region->run, *next;
	int more;

	region->run = run;
	region->ahead = ahead;
	/* Asked for in one place, so that all of it is in line. */
	for (next = run->at.end ? ahead : run;
	     (more = next_run(region, next)) > 0; next = ahead) {
		if (next == run)
			continue;
		if (!run_goes_on(run, ahead))
			return 0;
		run->at.end = ahead->at.end;
		run->at.pages += ahead->at.pages;
	}
	ahead->at.end = 0;
	return run->at.end ? 0 : more;
}

/**
 * region_next() - make a row
 * @region: the range
 * @row: its number: that of the row before and one, the same, or 0; behind the end,
 *       or an error, also a later one
 *
 * A row that cannot be made is asked for again: a reader first gets the rows that
 * were made, and the errno from the next read(). It stays until a seek.
 *
 * Return: 1 when there is one, 0 when not, or an errno: -ESRCH, once it has
 * been said, -EINTR.
 */
static inline int region_next(struct region *region, loff_t row)
{
	if (!region->err && row == region->row)
		return 1;
	if (!row && (region->row >= 0 || region->err == -EINTR))
		region_rewind(region);
	if (region->err)
		return region->err;
	if (region->row >= 0 && !region->run->at.end)
		return 0;	/* the totals were the last */
	region->err = take_run(region);
	if (region->err == -ESRCH)
		pr_err("pid=%d: it ended, or started another program, before 0x%lx was looked at; the report goes no further\n",
		       region->pid, region->va);
	if (region->err)
		return region->err;
	region->row = row;
	return 1;
}

/* ---- print ------------------------------------------------------------ */

static inline void print_totals(struct out *out, const struct totals *totals)
{
	char text[480] = "", size[SIZE_LEN];
	size_t len = 0;
	int i;

	for (i = 0; i < PAGE_SIZES; i++)
		if (totals->mapped[i].size)
			len += scnprintf(text + len, sizeof(text) - len,
					 " | %s x %lu = %lu kB",
					 size_name(size, totals->mapped[i].size),
					 totals->mapped[i].pages,
					 totals->mapped[i].bytes >> 10);
	for (i = 0; i < VERDICTS; i++)
		if (totals->absent[i])
			len += scnprintf(text + len, sizeof(text) - len,
					 " | %s %lu kB", reasons[i],
					 totals->absent[i] >> 10);
	if (totals->again)
		scnprintf(text + len, sizeof(text) - len, " | LOOKED AGAIN = %lu",
			  totals->again);
	report_line(out, "TOTAL%s", text);
}

static inline void print_run(struct out *out, const struct run *run)
{
	const struct target *target = &run->at.to;
	char *to = line_begin(out);

	to = put_hex(put_text(to, "VA "), run->at.va);
	to = put_hex(put_char(to, '-'), run->at.end);
	if (target->verdict != MAPPED) {
		to = put_reason(put_text(to, " | "), target);
	} else {
		to = put_hex(put_text(to, " PA "), target->phys);
		to = put_decimal(put_text(to, " | "), run->at.pages);
		to = put_size(put_text(to, " x "), target->size);
		to = put_rights(put_text(to, " | "), run->flags);
		to = put_contiguity(put_remarks(to, target), target);
	}
	line_end(out, to);
}

/* region_print() - write the row that region_next() has made */
static inline void region_print(struct out *out, const struct region *region)
{
	if (region->run->at.end)
		print_run(out, region->run);
	else
		print_totals(out, &region->totals);
}

#endif /* LKM_REGION_H */
