// SPDX-License-Identifier: GPL-2.0-only
/*
 * pagemap: what the kernel says of each page of a process, a line for a page:
 *
 *	0x7f2878000000  : pfn 205018     soft-dirty 1 file/shared 0 swapped 0 present 1
 *	0x7f2878001000  : swap 0:0x3f2   soft-dirty 0 file/shared 0 swapped 1 present 0
 *
 * The frame number and the swap offset are hexadecimal, the swap type decimal.
 * The frame is 0 where none is present. The source is /proc/PID/pagemap, one
 * 64-bit entry for each page of user space (bits:
 * Documentation/admin-guide/mm/pagemap.rst); which addresses are mapped comes
 * from /proc/PID/maps.
 *
 * By hand, for one page (8 bytes an entry, pages of 4096 bytes):
 *
 *	sudo dd if=/proc/PID/pagemap bs=8 skip=$((0x7f2878000000 / 4096)) count=1 | od -tx8
 *
 * and from the other side: insmod lkm4.ko pid=PID address=0x7f2878000000.
 *
 * --flags puts behind a page what /proc/kpageflags and /proc/kpagecount have at
 * its frame, a word each, 8 bytes. --check compares each page with what lkm4 says
 * of the same addresses (length=): first pagemap, then lkm4, then pagemap again.
 * Where the two differ, and pagemap stood still, the page is asked for again by
 * itself, a few times: AGREE, RACED, DIFFER, or UNSEEN.
 *
 * Exit status: 0 all lines written, 1 an error, or a page that DIFFERs, 2 wrong
 * usage, 3 the kernel hides frame numbers.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#ifndef LKM_VERSION
#define LKM_VERSION "0"
#endif

#define LKM4		"/proc/lkm4"
#define PARAMETERS	"/sys/module/lkm4/parameters/"
/*
 * How often a page that differs, and stands still, is asked for again; and from
 * which time on, because it may change in step with us, after a pause.
 */
#define TRIES		20
#define AT_ONCE		5

#define EXIT_USAGE	2
#define EXIT_HIDDEN	3

#define PM_PRESENT	(1ULL << 63)
#define PM_SWAPPED	(1ULL << 62)
#define PM_FILE_SHARED	(1ULL << 61)
#define PM_SOFT_DIRTY	(1ULL << 55)
/*
 * Of a present page the frame; of a swapped one five bits of type, then the
 * offset.
 */
#define PM_FRAME		((1ULL << 55) - 1)
#define PM_TYPE_BITS	5
#define PM_TYPE		((1ULL << PM_TYPE_BITS) - 1)

/*
 * Swap areas have the types from 0 on. Those at the end are none: pages that are
 * being migrated, poisoned ones, those that a device keeps, and markers. That is
 * ten of the 32 at most; where it is fewer, someone would have to use more than
 * 22 areas to be misunderstood (MAX_SWAPFILES in include/linux/swap.h).
 */
#define FIRST_SPECIAL_TYPE	22

/* /proc/kpageflags, by bits; and what is kept of a page that has no frame there. */
#define KPF_ANON	(1ULL << 12)
#define KPF_SWAPBACKED	(1ULL << 14)
#define KPF_HUGE	(1ULL << 17)
#define KPF_NOPAGE	(1ULL << 20)
#define KPF_KSM		(1ULL << 21)
#define KPF_THP		(1ULL << 22)
#define KPF_ZERO_PAGE	(1ULL << 24)
#define KPF_RESERVED	(1ULL << 32)
#define NO_FLAGS	(~0ULL)

#define DECIMAL_DIGITS	"0123456789"
#define HEX_DIGITS	DECIMAL_DIGITS "abcdefABCDEF"

/* Entries in one read: 512 KiB for 256 MiB of a process with 4 kB pages. */
#ifndef BATCH
#define BATCH		(64 * 1024)
#endif

/* Lines are written when there are so many; the longest is shorter than that. */
#define OUTPUT_SIZE	(128 * 1024)
#define LINE_ROOM	1024
/* Columns of a line, 0x and pfn in them. */
#define ADDRESS_WIDTH	16
#define PLACE_WIDTH	14

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* A number as the command line gave it. */
struct address {
	const char *text;
	unsigned long value;
	bool given;
};

/*
 * Pages [first, last), by page number: the end of the address space itself,
 * 2^64, has no address but has a page number.
 */
struct range {
	unsigned long first;
	unsigned long last;
};

struct mappings {
	struct range *ranges;
	size_t count;
	size_t room;
};

struct options {
	bool present;
	bool summary;
	bool flags;
	bool json;
	bool check;
};

struct request {
	int pid;
	struct address start;
	struct address end;
	struct options options;
};

struct process {
	int pid;
	int pagemap;
	unsigned long page_size;
};

/* All frames of the machine, with --flags: a word for each in either file. */
struct frames {
	int kpageflags;
	int kpagecount;
	uint64_t lies;	/* flags that mean nothing on this kernel */
};

/* Where a page leads, as lkm4 says: to a frame, or nowhere, for a reason. */
enum said {
	FRAME, SWAPPED_OUT, NO_VMA, NOT_MAPPED, MIGRATING, POISONED, DEVICE, MARKER
};

static const char *const reasons[] = {
	[NO_VMA] = "no VMA here",
	[NOT_MAPPED] = "not mapped",
	[MIGRATING] = "being migrated",
	[POISONED] = "poisoned",
	[DEVICE] = "device memory",
	[MARKER] = "marker",
};

#define NO_STRUCT_PAGE	" | special (no struct page)"

struct answer {
	enum said said;
	bool special;	/* memory of which pagemap shows no frame */
	unsigned int type;
	uint64_t number;	/* of the frame, or of the place in swap */
};

enum verdict { AGREE, RACED, DIFFER, UNSEEN, VERDICTS };

static const char *const verdict_words[VERDICTS] = {
	[AGREE] = "AGREE",
	[RACED] = "RACED",
	[DIFFER] = "DIFFER",
	[UNSEEN] = "UNSEEN",
};

/* Neighbouring pages, and what is known of each. */
struct batch {
	unsigned long first;
	long count;
	uint64_t entries[BATCH];
	/* with --flags */
	uint64_t flags[BATCH];
	uint64_t mapcounts[BATCH];
	/* with --check: what lkm4 says, and the entries after that */
	struct answer answers[BATCH];
	uint64_t later[BATCH];
	enum verdict verdicts[BATCH];
};

enum kind {
	ANON, ANON_THP, KSM, ZERO_PAGE, HUGETLB, SHMEM, FILE_PAGE,
	FILE_SHARED, FILE_SHARED_THP, RESERVED, NO_PAGE, SWAPPED, SPECIAL,
	NOT_PRESENT, KINDS
};

/* When a kind can be told: only without --flags, only with it, or in any case. */
enum told { WITHOUT_FLAGS = 1, WITH_FLAGS = 2, EVER = 3 };

static const struct {
	const char *name;
	enum told told;
} kinds[KINDS] = {
	[ANON] = { "anon", EVER },
	[ANON_THP] = { "anon thp", WITH_FLAGS },
	[KSM] = { "ksm", WITH_FLAGS },
	[ZERO_PAGE] = { "zero page", WITH_FLAGS },
	[HUGETLB] = { "hugetlb", WITH_FLAGS },
	[SHMEM] = { "shmem", WITH_FLAGS },
	[FILE_PAGE] = { "file", WITH_FLAGS },
	[FILE_SHARED] = { "file/shared", WITHOUT_FLAGS },
	[FILE_SHARED_THP] = { "file/shared thp", WITH_FLAGS },
	[RESERVED] = { "reserved", WITH_FLAGS },
	[NO_PAGE] = { "no struct page", WITH_FLAGS },
	[SWAPPED] = { "swapped", EVER },
	[SPECIAL] = { "special entry", EVER },
	[NOT_PRESENT] = { "not present", EVER },
};

/* What is wanted of which process, what was read, and what was counted. */
struct run {
	struct options options;
	struct process process;
	struct frames frames;
	struct batch batch;
	unsigned long pages[KINDS];
	unsigned long checked[VERDICTS];
};

static const char usage[] =
	"Usage: pagemap [OPTION]... PID [START [END]]\n"
	"Print what /proc/PID/pagemap says of each page in [START, END).\n"
	"\n"
	"START and END are addresses in bytes, hexadecimal with 0x or decimal; START is\n"
	"rounded down to its page, END up. Without END: to the end of the mapping that\n"
	"START lies in. Without START: every mapping of PID (see /proc/PID/maps).\n"
	"\n"
	"  -c, --check    ask lkm4, too, and say behind each page whether it AGREEs\n"
	"  -f, --flags    how often a present page is mapped, and its flags, behind it\n"
	"  -j, --json     a JSON object for each line\n"
	"  -p, --present  only pages that are present\n"
	"  -s, --summary  in place of a line for each page, how many there are of a kind\n"
	"  -h, --help     print this and exit\n"
	"  -V, --version  print the version and exit\n"
	"\n"
	"Kinds: `anon' is a private page, `file/shared' one of a file or of shared memory;\n"
	"`special entry' is what lies where a swapped page would, but in no swap area: a\n"
	"page that is being migrated, is poisoned, is kept by a device, or a marker.\n"
	"With --flags they are told apart further. Flags are those of /proc/kpageflags\n"
	"(Documentation/admin-guide/mm/pagemap.rst), the number is of /proc/kpagecount.\n"
	"\n"
	"--check wants lkm4 loaded: sudo insmod lkm4.ko log=0. Its parameters are left as\n"
	"they were. A page that lkm4 and pagemap do not say the same of is RACED if it\n"
	"changed meanwhile, UNSEEN if pagemap shows nothing of its kind (memory without a\n"
	"struct page, as [vvar]), else it DIFFERs; behind these stands what lkm4 said.\n"
	"\n"
	"Frame numbers are for root (CAP_SYS_ADMIN). Exit status: 0 done, 1 an error,\n"
	"or a page that DIFFERs, 2 wrong usage, 3 the kernel hides frame numbers from\n"
	"this user.\n";

static _Noreturn void die_usage(void)
{
	fputs("Try 'pagemap --help'.\n", stderr);
	exit(EXIT_USAGE);
}

/* With --check, signals that end the program wait until lkm4 is as it was. */
static volatile sig_atomic_t interrupted;

/* ---- output ---- */

static struct {
	char text[OUTPUT_SIZE];
	size_t used;
	bool failed;	/* and nothing more is written */
} output;

/* 0, or -1 once it has said why. */
static int write_text(const char *text, size_t size)
{
	ssize_t n;

	for (; size && !interrupted; text += n, size -= (size_t)n) {
		n = write(STDOUT_FILENO, text, size);
		if (n < 0 && errno != EINTR) {
			error(0, errno, "cannot write the output");
			return -1;
		}
		n = n < 0 ? 0 : n;
	}
	return interrupted ? -1 : 0;
}

static void flush_output(void)
{
	if (!output.failed)
		output.failed = write_text(output.text, output.used);
	output.used = 0;
}

/* Where the next line goes. */
static char *begin_line(void)
{
	if (output.used > OUTPUT_SIZE - LINE_ROOM)
		flush_output();
	return output.text + output.used;
}

static void end_line(char *at)
{
	*at++ = '\n';
	output.used = (size_t)(at - output.text);
}

/*
 * Lines are put together by hand, piece by piece, like stpcpy() does it: there
 * may be millions, and printf() takes longer for one than all the rest.
 */
static char *put_hex(char *at, uint64_t value)
{
	static const char pairs[] =
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
		"202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
		"404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
		"606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
		"808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
		"a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
		"c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
		"e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";
	int digits = (64 + 3 - __builtin_clzll(value | 1)) / 4;
	char *end = at + digits;

	/* The first two digits come first; of the last two one may be too many. */
	value = __builtin_bswap64(value << (64 - 4 * digits));
	for (; at < end; at += 2, value >>= 8)
		memcpy(at, &pairs[2 * (value & 0xff)], 2);
	return end;
}

static char *put_decimal(char *at, uint64_t value)
{
	char digits[20];
	int i = sizeof(digits);

	do {
		digits[--i] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	return mempcpy(at, digits + i, sizeof(digits) - i);
}

/* Blanks up to a column: at most PAD of them. */
#define PAD 16

static char *pad_to(char *column, char *at)
{
	memset(at, ' ', PAD);
	return at < column ? column : at;
}

static char *put_bit(char *at, const char *name, uint64_t bit)
{
	at = stpcpy(at, name);
	*at++ = bit ? '1' : '0';
	return at;
}

static _Noreturn void show_and_exit(const char *text)
{
	exit(write_text(text, strlen(text)) ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* ---- the command line ---- */

static int parse_pid(const char *text)
{
	long pid;

	errno = 0;
	pid = strtol(text, NULL, 10);
	if (!text[strspn(text, DECIMAL_DIGITS)] && !errno && pid > 0 &&
	    pid <= INT_MAX)
		return (int)pid;
	error(0, 0, "'%s' is no process id: write a decimal number from 1 on",
	      text);
	die_usage();
}

/*
 * /proc/PID/maps prints addresses without 0x, and not all of them have a letter
 * by which to tell. So what has one, or begins with a needless 0 as they do, is
 * refused rather than guessed at.
 */
static bool looks_like_maps(const char *text)
{
	size_t decimal = strspn(text, DECIMAL_DIGITS);
	size_t hex = strspn(text, HEX_DIGITS);

	return *text && !text[hex] &&
	       (hex > decimal || (hex > 1 && *text == '0'));
}

static struct address parse_address(const char *name, const char *text)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = hex ? text + 2 : text;
	struct address a = { .text = text, .given = true };

	if (!hex && looks_like_maps(text)) {
		error(0, 0, "%s '%s': is it hexadecimal? then write 0x%s", name,
		      text, text);
		die_usage();
	}
	/* strtoul itself would let a sign, a space or a second 0x pass */
	if (!*digits ||
	    digits[strspn(digits, hex ? HEX_DIGITS : DECIMAL_DIGITS)]) {
		error(0, 0,
		      "%s '%s' is no address: write 0x and hexadecimal, or decimal digits",
		      name, text);
		die_usage();
	}
	errno = 0;
	a.value = strtoul(digits, NULL, hex ? 16 : 10);
	if (errno) {
		error(0, 0, "%s '%s' does not fit in %zu bits", name, text,
		      sizeof(a.value) * CHAR_BIT);
		die_usage();
	}
	return a;
}

static struct options parse_options(int argc, char **argv)
{
	static const struct option names[] = {
		{ "check", no_argument, NULL, 'c' },
		{ "flags", no_argument, NULL, 'f' },
		{ "json", no_argument, NULL, 'j' },
		{ "present", no_argument, NULL, 'p' },
		{ "summary", no_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ }
	};
	struct options options = { };
	int c;

	while ((c = getopt_long(argc, argv, "cfjpshV", names, NULL)) != -1) {
		switch (c) {
		case 'c':
			options.check = true;
			break;
		case 'f':
			options.flags = true;
			break;
		case 'j':
			options.json = true;
			break;
		case 'p':
			options.present = true;
			break;
		case 's':
			options.summary = true;
			break;
		case 'h':
			show_and_exit(usage);
		case 'V':
			show_and_exit("pagemap " LKM_VERSION "\n");
		default:
			die_usage();
		}
	}
	return options;
}

static struct request parse_arguments(int argc, char **argv)
{
	struct request r = { .options = parse_options(argc, argv) };

	argc -= optind;
	argv += optind;
	if (argc < 1 || argc > 3) {
		error(0, 0,
		      argc < 1 ? "whose pages? a PID is missing"
			       : "too many arguments");
		die_usage();
	}
	r.pid = parse_pid(argv[0]);
	if (argc > 1)
		r.start = parse_address("START", argv[1]);
	if (argc > 2)
		r.end = parse_address("END", argv[2]);
	if (r.end.given && r.start.value >= r.end.value) {
		error(0, 0, "START %s is not below END %s", r.start.text,
		      r.end.text);
		die_usage();
	}
	return r;
}

/* ---- what the kernel says ---- */

/*
 * As many words as one read gives, 0 where the file has none, -1 on an error.
 * The i-th is of the i-th page of a process, or of the machine's i-th frame.
 */
static long read_words(int fd, unsigned long i, unsigned long count,
		       uint64_t *words)
{
	ssize_t n;

	do {
		n = pread(fd, words, count * sizeof(*words),
			  (off_t)(i * sizeof(*words)));
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : (long)((size_t)n / sizeof(*words));
}

/* That of a page of our own that was written to just now; 0: it cannot be had. */
static uint64_t own_entry(unsigned long page_size)
{
	volatile char here = 1;
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (read_words(fd, (uintptr_t)&here / page_size, 1, &entry) != 1)
		entry = 0;
	close(fd);
	return entry;
}

/*
 * Asked of a page that is surely present. Neither the capabilities (those of a
 * root in a user namespace are complete, and yet not enough) nor a pfn 0 of the
 * process looked at (it may be a PFN mapping, which shows none to anybody) would
 * tell.
 */
static bool frames_are_hidden(unsigned long page_size)
{
	return !(own_entry(page_size) & PM_FRAME);
}

static void no_user_memory(int status, int pid)
{
	error(status, 0,
	      "process %d has no user memory: a kernel thread, or it has ended",
	      pid);
}

static int open_pagemap(int pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void open_process(struct process *p, int pid)
{
	uint64_t entry;
	int failed;

	p->pid = pid;
	p->page_size = (unsigned long)sysconf(_SC_PAGESIZE);
	p->pagemap = open_pagemap(pid);
	failed = p->pagemap < 0 ? errno : 0;
	if (failed == ENOENT)
		error(EXIT_FAILURE, 0, "no process has the id %d", pid);
	if (frames_are_hidden(p->page_size))
		error(EXIT_HIDDEN, 0,
		      "without CAP_SYS_ADMIN the kernel hides frame numbers: run it with sudo");
	/*
	 * who has no memory cannot be opened on newer kernels, and on older
	 * ones has no page 0
	 */
	if (failed == ESRCH ||
	    (!failed && !read_words(p->pagemap, 0, 1, &entry)))
		no_user_memory(EXIT_FAILURE, pid);
	if (failed)
		error(EXIT_FAILURE, failed, "cannot open /proc/%d/pagemap", pid);
}

/*
 * The kernel gives no entry for two reasons: the address is beyond the user
 * space of the process, or the memory that was opened is gone. Page 0 tells: it
 * always has an entry, if any page has.
 */
static bool has_memory(const struct process *p)
{
	uint64_t entry;

	return read_words(p->pagemap, 0, 1, &entry) > 0;
}

static void say_ended(const struct process *p, unsigned long page)
{
	error(0, 0,
	      "process %d ended, or started another program, before 0x%lx was read",
	      p->pid, page * p->page_size);
}

/* -1 where count is -1 or 0. */
static int explain_no_entry(const struct process *p, unsigned long page,
			    long count)
{
	unsigned long address = page * p->page_size;

	if (count < 0)
		error(0, errno, "cannot read /proc/%d/pagemap at 0x%lx", p->pid,
		      address);
	else if (has_memory(p))
		error(0, 0, "0x%lx is beyond the user space of process %d",
		      address, p->pid);
	else
		say_ended(p, page);
	return -1;
}

/* 0: there are the next pages of a range, or some of them. */
static int read_batch(const struct process *p, struct range range,
		      struct batch *b)
{
	unsigned long left = range.last - range.first;

	b->first = range.first;
	b->count = read_words(p->pagemap, b->first,
			      left < BATCH ? left : BATCH, b->entries);
	return b->count > 0 ? 0 : explain_no_entry(p, b->first, b->count);
}

/* 0: there are all of these pages. */
static int read_pages(const struct process *p, unsigned long page, long count,
		      uint64_t *entries)
{
	long n;

	for (; count; page += n, entries += n, count -= n) {
		n = read_words(p->pagemap, page, count, entries);
		if (n <= 0)
			return explain_no_entry(p, page, n);
	}
	return 0;
}

static int open_frame_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		error(EXIT_FAILURE, errno, "cannot open %s", path);
	return fd;
}

/*
 * Some kernels say of each private page that KSM has merged it. So ask for one
 * that cannot have been.
 */
static void open_frames(struct frames *f, unsigned long page_size)
{
	uint64_t flags = 0, frame = own_entry(page_size) & PM_FRAME;

	f->kpageflags = open_frame_file("/proc/kpageflags");
	f->kpagecount = open_frame_file("/proc/kpagecount");
	if (read_words(f->kpageflags, frame, 1, &flags) == 1)
		f->lies = flags & KPF_KSM;
}

/* Those of frames that have none are NO_FLAGS: the files end before a device's. */
static int read_frame_words(int fd, uint64_t frame, long count, uint64_t *words)
{
	long n;

	while (count) {
		n = read_words(fd, frame, count, words);
		if (n < 0) {
			error(0, errno, "cannot read what the kernel says of frame %llx",
			      (unsigned long long)frame);
			return -1;
		}
		if (!n)
			break;
		frame += n;
		words += n;
		count -= n;
	}
	while (count--)
		*words++ = NO_FLAGS;
	return 0;
}

/* How many pages from the i-th on have frames that follow one another. */
static long neighbours(const struct batch *b, long i)
{
	uint64_t frame = b->entries[i] & PM_FRAME;
	long n = 1;

	while (i + n < b->count && b->entries[i + n] & PM_PRESENT &&
	       (b->entries[i + n] & PM_FRAME) == frame + n)
		n++;
	return n;
}

static void drop_lies(uint64_t lies, long count, uint64_t *flags)
{
	for (long i = 0; i < count; i++)
		if (flags[i] != NO_FLAGS)
			flags[i] &= ~lies;
}

/*
 * Of a whole run of neighbours in one go; and of a frame that comes again, as the
 * zero page's does, only once.
 */
static int read_frames(const struct frames *f, struct batch *b)
{
	long n, last = -1;
	uint64_t frame;

	for (long i = 0; i < b->count; i += n) {
		n = 1;
		b->flags[i] = NO_FLAGS;
		if (!(b->entries[i] & PM_PRESENT))
			continue;
		frame = b->entries[i] & PM_FRAME;
		if (last >= 0 && frame == (b->entries[last] & PM_FRAME)) {
			b->flags[i] = b->flags[last];
			b->mapcounts[i] = b->mapcounts[last];
			continue;
		}
		n = neighbours(b, i);
		last = i + n - 1;
		if (read_frame_words(f->kpageflags, frame, n, b->flags + i) ||
		    read_frame_words(f->kpagecount, frame, n, b->mapcounts + i))
			return -1;
		drop_lies(f->lies, n, b->flags + i);
	}
	return 0;
}

static int add_mapping(struct mappings *all, struct range range)
{
	struct range *grown;

	if (all->count == all->room) {
		all->room = all->room ? all->room * 2 : 256;
		grown = reallocarray(all->ranges, all->room, sizeof(*grown));
		if (!grown)
			return -1;
		all->ranges = grown;
	}
	all->ranges[all->count++] = range;
	return 0;
}

/*
 * A line that is cut short is none: its end would be another's. [vsyscall] stands
 * in maps but in no mm: pagemap has no entry for it.
 */
static int parse_mapping(const char *line, unsigned long page_size,
			 struct mappings *all)
{
	unsigned long start, end;
	struct range range;
	int name = 0;

	if (sscanf(line, "%lx-%lx %*4c %*x %*x:%*x %*u %n", &start, &end, &name) < 2 ||
	    !name || !strchr(line, '\n') || start >= end ||
	    start % page_size || end % page_size) {
		errno = EPROTO;
		return -1;
	}
	if (!strcmp(line + name, "[vsyscall]\n"))
		return 0;
	range = (struct range){ start / page_size, end / page_size };
	return add_mapping(all, range);
}

/*
 * All of maps before any of pagemap: a process that ends now cuts the list
 * short, in silence, but then pagemap has no entry even for the first of them.
 */
static int read_mappings(const struct process *p, struct mappings *all)
{
	size_t room = 0;
	char *line = NULL;
	char path[64];
	FILE *maps;
	bool unreadable, gone;
	int failed = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", p->pid);
	maps = fopen(path, "re");
	while (maps && !failed && getline(&line, &room, maps) > 0)
		failed = parse_mapping(line, p->page_size, all);
	unreadable = !maps || ferror(maps);
	gone = unreadable && (errno == ESRCH || errno == ENOENT);
	if (failed && errno == EPROTO) {
		error(0, 0, "a line of %s is not understood", path);
	} else if (failed || (unreadable && !gone)) {
		error(0, errno, "cannot read %s", path);
		failed = -1;
	} else if (!all->count) {
		no_user_memory(0, p->pid);
		failed = -1;
	}
	free(line);
	if (maps)
		fclose(maps);
	return failed;
}

/* ---- what lkm4 says ---- */

static const char *const parameters[] = {
	"pid", "address", "length", "vmas", "phys"
};

static char old_values[ARRAY_SIZE(parameters)][64];

static const int deadly[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

static void note_signal(int number)
{
	interrupted = number;
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = note_signal }, old;

	for (size_t i = 0; i < ARRAY_SIZE(deadly); i++) {
		sigaction(deadly[i], NULL, &old);
		if (old.sa_handler != SIG_IGN)
			sigaction(deadly[i], &action, NULL);
	}
}

static int open_parameter(const char *name, int flags)
{
	char path[sizeof(PARAMETERS) + 16];

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	return open(path, flags | O_CLOEXEC);
}

static int set_parameter(const char *name, const char *value)
{
	int fd = open_parameter(name, O_WRONLY);
	bool failed = fd < 0 || dprintf(fd, "%s\n", value) < 0;

	if (failed)
		error(0, errno, "cannot write " PARAMETERS "%s", name);
	if (fd >= 0)
		close(fd);
	return failed ? -1 : 0;
}

static int set_number(const char *name, const char *format, unsigned long value)
{
	char text[32];

	snprintf(text, sizeof(text), format, value);
	return set_parameter(name, text);
}

static void save_parameters(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(parameters); i++) {
		int fd = open_parameter(parameters[i], O_RDONLY);
		char *old = old_values[i];
		ssize_t n;

		n = fd < 0 ? -1 : read(fd, old, sizeof(old_values[i]) - 1);
		if (n < 0)
			error(EXIT_FAILURE, errno,
			      "cannot read " PARAMETERS "%s: load the lkm4 that belongs to this pagemap",
			      parameters[i]);
		if (n && old[n - 1] == '\n')
			old[n - 1] = '\0';
		close(fd);
	}
}

static int restore_parameters(void)
{
	int failed = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parameters); i++)
		failed |= set_parameter(parameters[i], old_values[i]);
	return failed;
}

/*
 * Have lkm4 for ourselves, as far as others lock it, too, until we end. Opened
 * for writing only, the file makes no report: it could not, with the parameters
 * that it has now.
 */
static void lock_lkm4(void)
{
	int fd = open(LKM4, O_WRONLY | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		error(EXIT_FAILURE, 0,
		      "lkm4 is to be asked, and is not loaded: sudo insmod lkm4.ko log=0 (if that is refused: docs/insmod.md)");
	if (fd < 0 || flock(fd, LOCK_EX))
		error(EXIT_FAILURE, errno, "cannot lock " LKM4);
}

static int begin_check(const struct process *p)
{
	lock_lkm4();
	save_parameters();
	catch_signals();
	if (set_parameter("phys", "") || set_parameter("vmas", "0"))
		return -1;
	return set_number("pid", "%lu", p->pid);
}

/* Where pages lead that have no frame; false: no words of lkm4's. */
static bool parse_reason(const char *text, struct answer *a)
{
	int end = 0;

	if (sscanf(text, "swapped out (type %u, offset 0x%" SCNx64 ")%n",
		   &a->type, &a->number, &end) == 2 && end && !text[end]) {
		a->said = SWAPPED_OUT;
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		if (reasons[i] && !strcmp(text, reasons[i])) {
			a->said = (enum said)i;
			return true;
		}
	}
	return false;
}

/*
 * VA 7f2878000000-7f2878200000 PA 205000000 | 512 x 4 kB | rw-
 * VA 7f2878200000-7f2878400000 | not mapped
 *
 * Which pages, and where the first of them leads; false: no such line.
 */
static bool parse_run(const char *line, unsigned long page_size,
		      struct range *pages, struct answer *a)
{
	unsigned long start, end, phys;
	int n = 0, pa = 0;

	*a = (struct answer){ };
	if (sscanf(line, "VA %lx-%lx%n", &start, &end, &n) < 2 || !n ||
	    start % page_size || end % page_size)
		return false;
	*pages = (struct range){ start / page_size, end / page_size };
	line += n;
	if (sscanf(line, " PA %lx |%n", &phys, &pa) == 1 && pa) {
		a->number = phys / page_size;
		a->special = strstr(line, NO_STRUCT_PAGE);
		return phys % page_size == 0;
	}
	return !strncmp(line, " | ", 3) && parse_reason(line + 3, a);
}

/* Frames follow one another in a run, places in swap do, too. */
static void fill_answers(struct answer *answers, unsigned long count,
			 struct answer a)
{
	bool counts = a.said == FRAME || a.said == SWAPPED_OUT;

	for (unsigned long i = 0; i < count; i++) {
		answers[i] = a;
		a.number += counts;
	}
}

/*
 * The lines on all pages, in order, up to the last one. 0, 1 for a line that is
 * not understood, which is left in *line, or -1 where it could not be read.
 */
static int read_report(FILE *report, unsigned long page_size,
		       struct range wanted, struct answer *answers, char **line)
{
	unsigned long next = wanted.first;
	struct range pages;
	struct answer a;
	size_t room = 0;

	while (getline(line, &room, report) > 0) {
		(*line)[strcspn(*line, "\n")] = '\0';
		if (!strncmp(*line, "PID: ", 5) ||
		    !strncmp(*line, "Number of VMAs = ", 17))
			continue;
		if (!strncmp(*line, "TOTAL", 5))
			return next != wanted.last;
		if (!parse_run(*line, page_size, &pages, &a) ||
		    pages.first != next || pages.last <= next ||
		    pages.last > wanted.last)
			return 1;
		fill_answers(answers + (next - wanted.first), pages.last - next, a);
		next = pages.last;
	}
	if (ferror(report))
		return -1;
	errno = EPROTO;
	return -1;
}

/*
 * lkm4 refuses a process that is gone, that has no memory any more, or in the
 * memory of whose next program there is no such address yet.
 */
static int explain_no_report(const struct process *p, unsigned long page)
{
	if (interrupted)
		return -1;
	if (errno == ESRCH || errno == EINVAL)
		say_ended(p, page);
	else if (errno == EPROTO)
		error(0, 0, "what " LKM4 " says of 0x%lx ends too early",
		      page * p->page_size);
	else
		error(0, errno, "cannot read " LKM4 " about 0x%lx (see dmesg)",
		      page * p->page_size);
	return -1;
}

static int ask_lkm4(const struct process *p, unsigned long page, long count,
		    struct answer *answers)
{
	struct range wanted = { page, page + count };
	char *line = NULL;
	FILE *report;
	int failed;

	if (interrupted ||
	    set_number("address", "0x%lx", page * p->page_size) ||
	    set_number("length", "0x%lx", count * p->page_size))
		return -1;
	report = fopen(LKM4, "re");
	if (!report)
		return explain_no_report(p, page);
	failed = read_report(report, p->page_size, wanted, answers, &line);
	if (failed < 0)
		explain_no_report(p, page);
	else if (failed)
		error(0, 0, "what " LKM4 " says of 0x%lx is not understood: %s",
		      page * p->page_size, line);
	free(line);
	fclose(report);
	return failed ? -1 : 0;
}

/* ---- whether they agree ---- */

static enum kind kind_of_entry(uint64_t entry)
{
	if (entry & PM_PRESENT)
		return entry & PM_FILE_SHARED ? FILE_SHARED : ANON;
	if (!(entry & PM_SWAPPED))
		return NOT_PRESENT;
	return (entry & PM_TYPE) < FIRST_SPECIAL_TYPE ? SWAPPED : SPECIAL;
}

static bool is_special(enum said said)
{
	return said == MIGRATING || said == POISONED || said == DEVICE ||
	       said == MARKER;
}

/* AGREE, DIFFER or UNSEEN; whether anything changed is another question. */
static enum verdict compare(uint64_t entry, const struct answer *a)
{
	uint64_t frame = entry & PM_FRAME;
	bool same;

	switch (kind_of_entry(entry)) {
	case NOT_PRESENT:
		/* Of hugetlb it shows frames and nothing else, on some kernels. */
		if ((a->said == FRAME && a->special) || is_special(a->said))
			return UNSEEN;
		same = a->said == NOT_MAPPED || a->said == NO_VMA;
		break;
	case SWAPPED:
		same = a->said == SWAPPED_OUT &&
		       a->type == (frame & PM_TYPE) &&
		       a->number == frame >> PM_TYPE_BITS;
		break;
	case SPECIAL:
		same = is_special(a->said);
		break;
	default:
		same = a->said == FRAME && a->number == frame;
	}
	return same ? AGREE : DIFFER;
}

/* Whether a page leads elsewhere than before, or is it only used otherwise? */
static bool has_moved(uint64_t before, uint64_t after)
{
	return (before ^ after) & (PM_PRESENT | PM_SWAPPED | PM_FRAME);
}

/*
 * Look at one page only, which is quick. Its pagemap is opened anew: a process
 * that ran in the memory of another (vfork()) may have memory of its own by now,
 * of which lkm4 speaks already.
 */
static int look_again(const struct process *p, unsigned long page,
		      uint64_t *before, struct answer *a, uint64_t *after)
{
	struct process now = *p;
	int failed;

	now.pagemap = open_pagemap(p->pid);
	if (now.pagemap < 0) {
		say_ended(p, page);
		return -1;
	}
	failed = read_pages(&now, page, 1, before) ||
		 ask_lkm4(&now, page, 1, a) || read_pages(&now, page, 1, after);
	close(now.pagemap);
	return failed ? -1 : 0;
}

/*
 * Pagemap did not change, and yet they differ. But a page can change and change
 * back between two looks, so it DIFFERs only if it does so each time.
 */
static int check_again(const struct process *p, struct batch *b, long i)
{
	struct answer a;
	uint64_t before, after;

	for (int tries = 0; tries < TRIES; tries++) {
		if (tries >= AT_ONCE)
			usleep(tries * 100);
		if (look_again(p, b->first + i, &before, &a, &after))
			return -1;
		if (has_moved(b->entries[i], before) ||
		    has_moved(before, after) || compare(before, &a) != DIFFER) {
			b->verdicts[i] = RACED;
			return 0;
		}
	}
	b->entries[i] = before;
	b->answers[i] = a;
	return 0;
}

static int check_batch(const struct process *p, struct batch *b)
{
	if (ask_lkm4(p, b->first, b->count, b->answers) ||
	    read_pages(p, b->first, b->count, b->later))
		return -1;
	for (long i = 0; i < b->count; i++) {
		b->verdicts[i] = compare(b->entries[i], &b->answers[i]);
		if (b->verdicts[i] != DIFFER)
			continue;
		if (has_moved(b->entries[i], b->later[i]))
			b->verdicts[i] = RACED;
		else if (check_again(p, b, i))
			return -1;
	}
	return 0;
}

/* ---- what is made of it ---- */

/* That of the i-th page of the batch. */
static unsigned long address_of(const struct run *run, long i)
{
	return (run->batch.first + i) * run->process.page_size;
}

/* "pfn 205018", or of a swapped page "swap 0:0x3f2" */
static char *put_place(char *at, uint64_t entry)
{
	uint64_t frame = entry & PM_FRAME;

	if (!(entry & PM_SWAPPED))
		return put_hex(stpcpy(at, "pfn "),
			       entry & PM_PRESENT ? frame : 0);
	at = put_decimal(stpcpy(at, "swap "), frame & PM_TYPE);
	return put_hex(stpcpy(at, ":0x"), frame >> PM_TYPE_BITS);
}

static char *put_page(char *at, unsigned long address, uint64_t entry)
{
	char *column = at;

	at = put_hex(stpcpy(at, "0x"), address);
	at = stpcpy(pad_to(column + ADDRESS_WIDTH, at), ": ");
	column = at;
	at = pad_to(column + PLACE_WIDTH, put_place(at, entry));
	at = put_bit(at, " soft-dirty ", entry & PM_SOFT_DIRTY);
	at = put_bit(at, " file/shared ", entry & PM_FILE_SHARED);
	at = put_bit(at, " swapped ", entry & PM_SWAPPED);
	return put_bit(at, " present ", entry & PM_PRESENT);
}

static char *put_words(char *at, uint64_t flags, const char *separator)
{
	static const char *const words[] = {
		"locked", "error", "referenced", "uptodate", "dirty", "lru",
		"active", "slab", "writeback", "reclaim", "buddy", "mmap",
		"anon", "swapcache", "swapbacked", "compound_head",
		"compound_tail", "huge", "unevictable", "hwpoison", "nopage",
		"ksm", "thp", "offline", "zero_page", "idle", "pgtable",
		[32] = "reserved", "mlocked",
	};
	char *first = at;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!(flags >> i & 1) || !words[i])
			continue;
		if (at != first)
			at = stpcpy(at, separator);
		at = stpcpy(at, words[i]);
	}
	return at;
}

static char *put_flags(char *at, uint64_t mapcount, uint64_t flags)
{
	char *words;

	at = put_decimal(stpcpy(at, " mapcount "), mapcount);
	words = stpcpy(at, " flags ");
	at = put_words(words, flags, ",");
	return at == words ? stpcpy(at, "-") : at;
}

static char *put_json_flags(char *at, uint64_t mapcount, uint64_t flags)
{
	char *words;

	at = put_decimal(stpcpy(at, ",\"mapcount\":"), mapcount);
	at = stpcpy(at, ",\"flags\":[");
	words = stpcpy(at, "\"");
	at = put_words(words, flags, "\",\"");
	return stpcpy(at == words ? words - 1 : stpcpy(at, "\""), "]");
}

static char *put_json_bit(char *at, const char *name, uint64_t bit)
{
	return stpcpy(stpcpy(at, name), bit ? "true" : "false");
}

/* An object that is not closed yet: more may follow. */
static char *put_json_page(char *at, unsigned long address, uint64_t entry)
{
	uint64_t frame = entry & PM_FRAME;

	at = put_hex(stpcpy(at, "{\"address\":\"0x"), address);
	if (entry & PM_SWAPPED) {
		at = stpcpy(at, "\",\"swap_type\":");
		at = put_decimal(at, frame & PM_TYPE);
		at = stpcpy(at, ",\"swap_offset\":\"0x");
		at = put_hex(at, frame >> PM_TYPE_BITS);
	} else if (entry & PM_PRESENT) {
		at = put_hex(stpcpy(at, "\",\"pfn\":\"0x"), frame);
	}
	at = put_json_bit(at, "\",\"soft_dirty\":", entry & PM_SOFT_DIRTY);
	at = put_json_bit(at, ",\"file_shared\":", entry & PM_FILE_SHARED);
	at = put_json_bit(at, ",\"swapped\":", entry & PM_SWAPPED);
	return put_json_bit(at, ",\"present\":", entry & PM_PRESENT);
}

/* lkm4's words for where one page leads. */
static char *put_answer(char *at, const struct answer *a,
			unsigned long page_size)
{
	if (a->said == FRAME) {
		at = put_hex(stpcpy(at, "PA "), a->number * page_size);
		return a->special ? stpcpy(at, NO_STRUCT_PAGE) : at;
	}
	if (a->said != SWAPPED_OUT)
		return stpcpy(at, reasons[a->said]);
	at = put_decimal(stpcpy(at, "swapped out (type "), a->type);
	return stpcpy(put_hex(stpcpy(at, ", offset 0x"), a->number), ")");
}

static char *put_verdict(char *at, const struct run *run, long i)
{
	const struct batch *b = &run->batch;

	*at++ = ' ';
	at = stpcpy(at, verdict_words[b->verdicts[i]]);
	if (b->verdicts[i] == AGREE)
		return at;
	at = stpcpy(at, " (lkm4: ");
	at = put_answer(at, &b->answers[i], run->process.page_size);
	return stpcpy(at, ")");
}

static char *put_json_verdict(char *at, const struct run *run, long i)
{
	const struct batch *b = &run->batch;

	at = stpcpy(at, ",\"verdict\":\"");
	at = stpcpy(at, verdict_words[b->verdicts[i]]);
	if (b->verdicts[i] != AGREE) {
		at = stpcpy(at, "\",\"lkm4\":\"");
		at = put_answer(at, &b->answers[i], run->process.page_size);
	}
	return stpcpy(at, "\"");
}

static char *put_line(char *at, const struct run *run, long i)
{
	const struct batch *b = &run->batch;

	at = put_page(at, address_of(run, i), b->entries[i]);
	if (run->options.flags && b->flags[i] != NO_FLAGS)
		at = put_flags(at, b->mapcounts[i], b->flags[i]);
	return run->options.check ? put_verdict(at, run, i) : at;
}

static char *put_json_line(char *at, const struct run *run, long i)
{
	const struct batch *b = &run->batch;

	at = put_json_page(at, address_of(run, i), b->entries[i]);
	if (run->options.flags && b->flags[i] != NO_FLAGS)
		at = put_json_flags(at, b->mapcounts[i], b->flags[i]);
	if (run->options.check)
		at = put_json_verdict(at, run, i);
	return stpcpy(at, "}");
}

static void print_page(const struct run *run, long i)
{
	char *at = begin_line();

	end_line(run->options.json ? put_json_line(at, run, i) :
				     put_line(at, run, i));
}

/*
 * Of a present page. Shared memory is swapbacked, a file is not; but of a huge
 * page that may stand with its first page only.
 */
static enum kind kind_of_flags(uint64_t flags)
{
	if (flags & KPF_NOPAGE)
		return NO_PAGE;
	if (flags & KPF_ZERO_PAGE)
		return ZERO_PAGE;
	if (flags & KPF_HUGE)
		return HUGETLB;
	if (flags & KPF_KSM)
		return KSM;
	if (flags & KPF_ANON)
		return flags & KPF_THP ? ANON_THP : ANON;
	if (flags & KPF_THP)
		return FILE_SHARED_THP;
	if (flags & KPF_SWAPBACKED)
		return SHMEM;
	return flags & KPF_RESERVED ? RESERVED : FILE_PAGE;
}

static enum kind kind_of(const struct run *run, long i)
{
	uint64_t entry = run->batch.entries[i];

	if (run->options.flags && entry & PM_PRESENT)
		return kind_of_flags(run->batch.flags[i]);
	return kind_of_entry(entry);
}

static void print_counts(const struct run *run, const char *kind,
			 unsigned long pages)
{
	unsigned long kb = pages * (run->process.page_size / 1024);
	char *at = begin_line();

	end_line(at + sprintf(at,
			      run->options.json ?
				      "{\"kind\":\"%s\",\"pages\":%lu,\"kb\":%lu}" :
				      "%-16s %14lu %14lu",
			      kind, pages, kb));
}

static void print_summary(const struct run *run)
{
	enum told told = run->options.flags ? WITH_FLAGS : WITHOUT_FLAGS;
	unsigned long total = 0;
	char *at = begin_line();

	if (!run->options.json)
		end_line(at + sprintf(at, "%-16s %14s %14s", "KIND", "PAGES",
				      "kB"));
	for (int kind = 0; kind < KINDS; kind++) {
		total += run->pages[kind];
		if (kinds[kind].told & told)
			print_counts(run, kinds[kind].name, run->pages[kind]);
	}
	if (!run->options.json)
		print_counts(run, "total", total);
}

static void print_verdicts(const struct run *run)
{
	const unsigned long *n = run->checked;
	char *at = begin_line();

	end_line(at + sprintf(at,
			      run->options.json ?
				      "{\"agree\":%lu,\"raced\":%lu,\"differ\":%lu,\"unseen\":%lu}" :
				      "TOTAL AGREE %lu RACED %lu DIFFER %lu UNSEEN %lu",
			      n[AGREE], n[RACED], n[DIFFER], n[UNSEEN]));
}

/* 0, or -1 where what was shown cannot be written: there is no use in more. */
static int show_batch(struct run *run)
{
	const struct options *options = &run->options;
	const struct batch *b = &run->batch;

	for (long i = 0; i < b->count && !output.failed; i++) {
		if (options->present && !(b->entries[i] & PM_PRESENT))
			continue;
		if (options->check)
			run->checked[b->verdicts[i]]++;
		if (options->summary)
			run->pages[kind_of(run, i)]++;
		else
			print_page(run, i);
	}
	return output.failed ? -1 : 0;
}

static int show_range(struct run *run, struct range range)
{
	const struct options *options = &run->options;
	struct batch *b = &run->batch;

	while (range.first < range.last) {
		if (read_batch(&run->process, range, b) ||
		    (options->check && check_batch(&run->process, b)) ||
		    (options->flags && read_frames(&run->frames, b)) ||
		    show_batch(run))
			return -1;
		range.first += b->count;
	}
	return 0;
}

static int show_all_mappings(struct run *run, const struct mappings *all)
{
	int failed = 0;

	for (size_t i = 0; i < all->count && !failed; i++)
		failed = show_range(run, all->ranges[i]);
	return failed;
}

static int show_rest_of_mapping(struct run *run, const struct mappings *all,
				const struct address *start)
{
	struct range range = { .first = start->value / run->process.page_size };
	int pid = run->process.pid;

	for (size_t i = 0; i < all->count; i++) {
		range.last = all->ranges[i].last;
		if (range.first >= all->ranges[i].first && range.first < range.last)
			return show_range(run, range);
	}
	error(0, 0, "0x%lx (START %s) lies in no mapping of process %d",
	      start->value, start->text, pid);
	fprintf(stderr,
		"See /proc/%d/maps: its addresses are hexadecimal, here with 0x.\n",
		pid);
	return -1;
}

static int show_request(struct run *run, const struct request *r)
{
	unsigned long page_size = run->process.page_size;
	struct mappings all = { };
	struct range range;
	int failed;

	if (r->end.given) {
		range.first = r->start.value / page_size;
		range.last = r->end.value / page_size +
			     (r->end.value % page_size != 0);
		return show_range(run, range);
	}
	failed = read_mappings(&run->process, &all);
	if (!failed && r->start.given)
		failed = show_rest_of_mapping(run, &all, &r->start);
	else if (!failed)
		failed = show_all_mappings(run, &all);
	free(all.ranges);
	return failed;
}

static int print_all(struct run *run, const struct request *request)
{
	const struct options *options = &run->options;

	if (show_request(run, request))
		return -1;
	if (options->summary)
		print_summary(run);
	if (options->check)
		print_verdicts(run);
	return run->checked[DIFFER] ? -1 : 0;
}

static int answer(struct run *run, const struct request *request)
{
	int failed;

	run->options = request->options;
	open_process(&run->process, request->pid);
	if (run->options.flags)
		open_frames(&run->frames, run->process.page_size);
	failed = (run->options.check && begin_check(&run->process)) ||
		 print_all(run, request);
	flush_output();
	if (run->options.check && restore_parameters())
		failed = -1;
	return failed || output.failed;
}

int main(int argc, char **argv)
{
	static struct run run;
	struct request request;
	int failed;

	/* A closed pipe is a failed write, with a message, like a full disk. */
	signal(SIGPIPE, SIG_IGN);
	request = parse_arguments(argc, argv);
	failed = answer(&run, &request);
	if (interrupted) {
		error(0, 0, "interrupted; lkm4's parameters are as they were");
		signal(interrupted, SIG_DFL);
		raise(interrupted);
	}
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
