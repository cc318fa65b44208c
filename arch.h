/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * arch.h - the one file that knows there is more than one architecture
 *
 *	saved_sp()		where on its stack a task left the CPU
 *	user_address()		the address in a pointer of a process
 *	pte_size()		how much a PTE maps
 *	FRAME_STEP		what the next frame's entry has more than a page's
 *	joined_size()		how much it maps with its neighbours, as if one
 *	entry_protnone()	is a page's entry one that keeps its owner out?
 *	put_entry_words()	an entry's flags in words
 *
 * The words are the names that the architecture's headers give the bits, in
 * lower case. A section for each architecture, then what is common to all.
 */
#ifndef LKM_ARCH_H
#define LKM_ARCH_H

#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/sched.h>

#include "compat.h"
#include "line.h"

enum level { LEVEL_PGD, LEVEL_P4D, LEVEL_PUD, LEVEL_PMD, LEVEL_PTE, LEVELS };

#define WORD_LEN 16

/**
 * struct word - what bits of an entry or a page are called
 * @mask: the bits; 0: this kernel has none
 * @len: bytes of @word; 0 behind the last word of a list
 * @word: with a blank in front, and copied whole, which is faster
 */
struct word {
	u64 mask;
	u64 len;
	char word[WORD_LEN];
};

#define WORD(mask, word) { mask, sizeof(" " word) - 1, " " word }

/* put_words() - the words of the bits that are set in @bits; WORD_LEN bytes more */
static inline char *put_words(char *to, u64 bits, const struct word *words)
{
	for (; words->len; words++) {
		if (!words->mask || (bits & words->mask) != words->mask)
			continue;
		memcpy(to, words->word, WORD_LEN);
		to += words->len;
	}
	return to;
}

#if defined(CONFIG_X86_64)
/* ---- x86-64 ----------------------------------------------------------- */

static inline unsigned long saved_sp(const struct task_struct *task)
{
	return READ_ONCE(task->thread.sp);
}

static inline unsigned long user_address(unsigned long address)
{
	return address;
}

static inline unsigned long pte_size(pte_t pte)
{
	return PAGE_SIZE;
}

#define FRAME_STEP PAGE_SIZE

static inline unsigned long joined_size(u64 value, enum level level)
{
	return 0;
}

/* The bit is GLOBAL in an accessible page. */
static inline bool entry_protnone(u64 value)
{
	return (value & (_PAGE_PRESENT | _PAGE_PROTNONE)) == _PAGE_PROTNONE;
}

#define X86_BIT(name, word) WORD(1ULL << _PAGE_BIT_##name, word)
/* Those that software may use mean what they say in pages' entries only. */
static const struct word entry_words[] = {
	X86_BIT(PRESENT, "present"),
	X86_BIT(RW, "rw"),
	X86_BIT(USER, "user"),
	X86_BIT(PWT, "pwt"),
	X86_BIT(PCD, "pcd"),
	X86_BIT(ACCESSED, "accessed"),
	X86_BIT(DIRTY, "dirty"),
	{ }
};

static const struct word global_words[] = { X86_BIT(GLOBAL, "global"), { } };

/*
 * Two of software's bits by number: the one for userfaultfd has been renamed, and
 * bit 58 was DEVMAP's, as long as there was no fifth one.
 */
static const struct word leaf_words[] = {
	X86_BIT(SPECIAL, "special"),
	X86_BIT(SOFTW2, "uffd_wp"),
	X86_BIT(SOFT_DIRTY, "soft_dirty"),
	X86_BIT(SOFTW4, "devmap"),
	WORD(BIT_ULL(58) & ~(1ULL << _PAGE_BIT_SOFTW4), "saved_dirty"),
	X86_BIT(PKEY_BIT0, "pkey0"),
	X86_BIT(PKEY_BIT1, "pkey1"),
	X86_BIT(PKEY_BIT2, "pkey2"),
	X86_BIT(PKEY_BIT3, "pkey3"),
	{ }
};

/* Bit 7 is the page's size above the lowest level, and PAT at it. */
static const struct word pte_words[] = { X86_BIT(PAT, "pat"), { } };
static const struct word huge_words[] = {
	X86_BIT(PSE, "pse"),
	X86_BIT(PAT_LARGE, "pat"),
	{ }
};

static const struct word nx_words[] = { X86_BIT(NX, "nx"), { } };

static inline char *put_words_of(char *to, u64 value, bool leaf, enum level level)
{
	to = put_words(to, value, entry_words);
	if (leaf)
		to = put_words(to, value, level == LEVEL_PTE ? pte_words : huge_words);
	if (leaf && !entry_protnone(value))
		to = put_words(to, value, global_words);
	if (leaf)
		to = put_words(to, value, leaf_words);
	return put_words(to, value, nx_words);
}

#elif defined(CONFIG_ARM64)
/* ---- arm64 ------------------------------------------------------------ */

static inline unsigned long saved_sp(const struct task_struct *task)
{
	return READ_ONCE(task->thread.cpu_context.sp);
}

/* The top byte of its pointers is the process's own to use, and no address. */
static inline unsigned long user_address(unsigned long address)
{
	return untagged_addr(address);
}

/* What CONT joins are pages of their own, with an entry each. */
static inline unsigned long pte_size(pte_t pte)
{
	return PAGE_SIZE;
}

#define FRAME_STEP PAGE_SIZE

static inline unsigned long joined_size(u64 value, enum level level)
{
	if (!(value & PTE_CONT))
		return 0;
	return level == LEVEL_PTE ? CONT_PTE_SIZE : CONT_PMD_SIZE;
}

/*
 * The process can neither read nor execute. The kernel marks such an entry with
 * a bit of its own, PTE_PRESENT_INVALID, which has moved; these two have not.
 */
static inline bool entry_protnone(u64 value)
{
	return (value & (PTE_USER | PTE_UXN)) == PTE_UXN;
}

/* The two upper bits are above the page's in the entries of pages. */
static const struct word table_words[] = {
	WORD(BIT_ULL(0), "valid"),
	WORD(BIT_ULL(1), "table"),
	WORD(BIT_ULL(10), "af"),
	WORD(BIT_ULL(59), "pxn"),
	WORD(BIT_ULL(60), "uxn"),
	{ }
};

static const struct word leaf_words[] = {
	WORD(PTE_VALID, "valid"),
	WORD(PTE_USER, "user"),
	WORD(PTE_RDONLY, "rdonly"),
	WORD(PTE_SHARED, "shared"),
	WORD(PTE_AF, "af"),
	WORD(PTE_NG, "ng"),
	WORD(PTE_GP, "gp"),
	WORD(PTE_DBM, "dbm"),
	WORD(PTE_CONT, "cont"),
	WORD(PTE_PXN, "pxn"),
	WORD(PTE_UXN, "uxn"),
	WORD(PTE_DIRTY, "dirty"),
	WORD(PTE_SPECIAL, "special"),
	WORD(BIT_ULL(57), "devmap"),
	WORD(BIT_ULL(58), "uffd_wp"),
	{ }
};

/* With a blank in front; the other types of memory are not for processes. */
static inline const char *memory_type(u64 value)
{
	switch (value & PTE_ATTRINDX_MASK) {
	case PTE_ATTRINDX(MT_NORMAL_TAGGED):
		return " tagged";
	case PTE_ATTRINDX(MT_NORMAL_NC):
		return " nc";
	case PTE_ATTRINDX(MT_DEVICE_nGnRE):
	case PTE_ATTRINDX(MT_DEVICE_nGnRnE):
		return " device";
	}
	return "";
}

static inline char *put_words_of(char *to, u64 value, bool leaf, enum level level)
{
	if (!leaf)
		return put_words(to, value, table_words);
#ifdef CONFIG_ARM64_LPA2
	/* A part of the physical address then. */
	if (lpa2_is_enabled())
		value &= ~PTE_SHARED;
#endif
	/* Marks an entry with a page that is not valid, on newer kernels. */
	if (!(value & PTE_VALID))
		value &= ~PTE_NG;
	/* On older ones this does, which was not yet for userfaultfd then. */
	value &= ~(pgprot_val(PAGE_NONE) & BIT_ULL(58));
	to = put_words(to, value, leaf_words);
	return put_text(to, memory_type(value));
}

#elif defined(CONFIG_RISCV) && defined(CONFIG_64BIT)
/* ---- riscv64 ---------------------------------------------------------- */

static inline unsigned long saved_sp(const struct task_struct *task)
{
	return READ_ONCE(task->thread.sp);
}

static inline unsigned long user_address(unsigned long address)
{
	return address;
}

/* Svnapot: one page of 16 small ones' size, in 16 entries that are the same. */
static inline unsigned long pte_size(pte_t pte)
{
	if (has_svnapot() && pte_napot(pte))
		return napot_cont_size(napot_cont_order(pte));
	return PAGE_SIZE;
}

#define FRAME_STEP (1UL << _PAGE_PFN_SHIFT)

/* Those pages are larger pages, each in all of its entries. */
static inline unsigned long joined_size(u64 value, enum level level)
{
	return 0;
}

/* The bit is GLOBAL in an accessible page. */
static inline bool entry_protnone(u64 value)
{
	return (value & (_PAGE_PRESENT | _PAGE_PROT_NONE)) == _PAGE_PROT_NONE;
}

static const struct word entry_words[] = {
	WORD(_PAGE_PRESENT, "present"),
	WORD(_PAGE_READ, "read"),
	WORD(_PAGE_WRITE, "write"),
	WORD(_PAGE_EXEC, "exec"),
	WORD(_PAGE_USER, "user"),
	WORD(_PAGE_ACCESSED, "accessed"),
	WORD(_PAGE_DIRTY, "dirty"),
	{ }
};

static const struct word leaf_words[] = {
	WORD(_PAGE_GLOBAL, "global"),
	{ }
};

static const struct word soft_words[] = {
	WORD(_PAGE_SPECIAL, "special"),
	{ }
};

/* With a blank in front; each CPU's vendor has put the bits elsewhere. */
static inline const char *memory_type(u64 value)
{
	u64 type = value & _PAGE_MTMASK;

	if (type && type == _PAGE_NOCACHE)
		return " nocache";
	return type && type == _PAGE_IO ? " io" : "";
}

static inline char *put_words_of(char *to, u64 value, bool leaf, enum level level)
{
	to = put_words(to, value, entry_words);
	if (!leaf)
		return to;
	if (!entry_protnone(value))
		to = put_words(to, value, leaf_words);
	to = put_words(to, value, soft_words);
	if (level == LEVEL_PTE && pte_size(__pte(value)) > PAGE_SIZE)
		to = put_text(to, " napot");
	return put_text(to, memory_type(value));
}

#else
#error "The suite knows the stacks and page tables of x86-64, arm64 and riscv64 only."
#endif

/* ---- every architecture ----------------------------------------------- */

/**
 * put_entry_words() - an entry's flags in words
 * @to: where they go, each behind a blank: 160 bytes at most
 * @value: the entry
 * @leaf: whether it maps a page, not a table
 * @level: the level it was found at
 */
static inline char *put_entry_words(char *to, u64 value, bool leaf, enum level level)
{
	if (leaf && entry_protnone(value))
		to = put_text(to, " protnone");
	return put_words_of(to, value, leaf, level);
}

#endif /* LKM_ARCH_H */
