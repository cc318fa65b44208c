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
 * Exit status: 0 all lines written, 1 an error, 2 wrong usage, 3 the kernel
 * hides frame numbers.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef LKM_VERSION
#define LKM_VERSION "0"
#endif

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

#define DECIMAL_DIGITS	"0123456789"
#define HEX_DIGITS	DECIMAL_DIGITS "abcdefABCDEF"

#define PAGE_FORMAT                                                            \
	"0x%-14lx: %-14s soft-dirty %d file/shared %d swapped %d present %d\n"

/* Entries in one read: 512 KiB for 256 MiB of a process with 4 kB pages. */
#define BATCH		(64 * 1024)

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

struct request {
	int pid;
	struct address start;
	struct address end;
};

struct process {
	int pid;
	int pagemap;
	unsigned long page_size;
};

static void print_usage(FILE *to)
{
	fputs("Usage: pagemap PID [START [END]]\n"
	      "Print what /proc/PID/pagemap says of each page in [START, END).\n"
	      "\n"
	      "START and END are addresses in bytes, hexadecimal with 0x or decimal; START is\n"
	      "rounded down to its page, END up. Without END: to the end of the mapping that\n"
	      "START lies in. Without START: every mapping of PID (see /proc/PID/maps).\n"
	      "\n"
	      "  -h, --help     print this and exit\n"
	      "  -V, --version  print the version and exit\n"
	      "\n"
	      "Frame numbers are for root (CAP_SYS_ADMIN). Exit status: 0 done, 1 an error,\n"
	      "2 wrong usage, 3 the kernel hides frame numbers from this user.\n",
	      to);
}

static _Noreturn void die_usage(void)
{
	fputs("Try 'pagemap --help'.\n", stderr);
	exit(EXIT_USAGE);
}

static int write_failed(void)
{
	error(0, errno, "cannot write the output");
	return -1;
}

/* 0, or -1; an error that was met before is not reported again. */
static int finish_output(void)
{
	if (ferror(stdout))
		return -1;
	return fflush(stdout) ? write_failed() : 0;
}

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

static struct request parse_arguments(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ }
	};
	struct request r = { };
	int c;

	while ((c = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
		switch (c) {
		case 'h':
			print_usage(stdout);
			exit(finish_output() ? EXIT_FAILURE : EXIT_SUCCESS);
		case 'V':
			puts("pagemap " LKM_VERSION);
			exit(finish_output() ? EXIT_FAILURE : EXIT_SUCCESS);
		default:
			die_usage();
		}
	}
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

/*
 * As many entries as one read gives, 0 where the kernel has none, -1 on an
 * error.
 */
static long read_entries(int fd, unsigned long page, unsigned long count,
			 uint64_t *entries)
{
	ssize_t n;

	do {
		n = pread(fd, entries, count * sizeof(*entries),
			  (off_t)(page * sizeof(*entries)));
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : (long)((size_t)n / sizeof(*entries));
}

/*
 * Asked of a page of our own that is surely present and in memory. Neither the
 * capabilities (those of a root in a user namespace are complete, and yet not
 * enough) nor a pfn 0 of the process looked at (it may be a PFN mapping, which
 * shows none to anybody) would tell.
 */
static bool frames_are_hidden(unsigned long page_size)
{
	volatile char here = 1;
	uint64_t entry = 0;
	bool hidden;
	long n;
	int fd;

	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	n = read_entries(fd, (uintptr_t)&here / page_size, 1, &entry);
	hidden = n != 1 || !(entry & PM_FRAME);
	close(fd);
	return hidden;
}

static void no_user_memory(int status, int pid)
{
	error(status, 0,
	      "process %d has no user memory: a kernel thread, or it has ended",
	      pid);
}

static void open_process(struct process *p, int pid)
{
	uint64_t entry;
	char path[64];
	int failed;

	p->pid = pid;
	p->page_size = (unsigned long)sysconf(_SC_PAGESIZE);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	p->pagemap = open(path, O_RDONLY | O_CLOEXEC);
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
	    (!failed && !read_entries(p->pagemap, 0, 1, &entry)))
		no_user_memory(EXIT_FAILURE, pid);
	if (failed)
		error(EXIT_FAILURE, failed, "cannot open %s", path);
}

/* Negative where it could not be written. */
static int print_page(unsigned long address, uint64_t entry)
{
	uint64_t frame = entry & PM_FRAME;
	char where[40];

	if (entry & PM_SWAPPED)
		snprintf(where, sizeof(where), "swap %u:0x%llx",
			 (unsigned int)(frame & PM_TYPE),
			 (unsigned long long)(frame >> PM_TYPE_BITS));
	else
		snprintf(where, sizeof(where), "pfn %llx",
			 (unsigned long long)(entry & PM_PRESENT ? frame : 0));
	return printf(PAGE_FORMAT, address, where, !!(entry & PM_SOFT_DIRTY),
		      !!(entry & PM_FILE_SHARED), !!(entry & PM_SWAPPED),
		      !!(entry & PM_PRESENT));
}

/*
 * The kernel gives no entry for two reasons: the address is beyond the user
 * space of the process, or the memory that was opened is gone. Page 0 tells: it
 * always has an entry, if any page has.
 */
static void explain_no_entry(const struct process *p, unsigned long page)
{
	uint64_t entry;

	if (read_entries(p->pagemap, 0, 1, &entry) > 0)
		error(0, 0, "0x%lx is beyond the user space of process %d",
		      page * p->page_size, p->pid);
	else
		error(0, 0,
		      "process %d ended, or started another program, before 0x%lx was read",
		      p->pid, page * p->page_size);
}

static int print_range(const struct process *p, struct range range)
{
	static uint64_t entries[BATCH];
	unsigned long page = range.first;

	while (page < range.last) {
		unsigned long left = range.last - page;
		long n = read_entries(p->pagemap, page,
				      left < BATCH ? left : BATCH, entries);

		if (n < 0) {
			error(0, errno, "cannot read /proc/%d/pagemap at 0x%lx",
			      p->pid, page * p->page_size);
			return -1;
		}
		if (!n) {
			explain_no_entry(p, page);
			return -1;
		}
		for (long i = 0; i < n; i++, page++)
			if (print_page(page * p->page_size, entries[i]) < 0)
				return write_failed();
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

/* [vsyscall] stands in maps but in no mm: pagemap has no entry for it. */
static int parse_mapping(const char *line, unsigned long page_size,
			 struct mappings *all)
{
	unsigned long start, end;
	struct range range;
	int name = 0;

	if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &start, &end, &name) < 2) {
		errno = EPROTO;
		return -1;
	}
	if (name && !strcmp(line + name, "[vsyscall]\n"))
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
	int failed = 0;

	snprintf(path, sizeof(path), "/proc/%d/maps", p->pid);
	maps = fopen(path, "re");
	while (maps && !failed && getline(&line, &room, maps) > 0)
		failed = parse_mapping(line, p->page_size, all);
	if (!maps || failed || (ferror(maps) && errno != ESRCH)) {
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

static int print_all_mappings(const struct process *p,
			      const struct mappings *all)
{
	int failed = 0;

	for (size_t i = 0; i < all->count && !failed; i++)
		failed = print_range(p, all->ranges[i]);
	return failed;
}

static int print_rest_of_mapping(const struct process *p,
				 const struct mappings *all,
				 const struct address *start)
{
	struct range range = { .first = start->value / p->page_size };

	for (size_t i = 0; i < all->count; i++) {
		range.last = all->ranges[i].last;
		if (range.first >= all->ranges[i].first && range.first < range.last)
			return print_range(p, range);
	}
	error(0, 0, "0x%lx (START %s) lies in no mapping of process %d",
	      start->value, start->text, p->pid);
	fprintf(stderr,
		"See /proc/%d/maps: its addresses are hexadecimal, here with 0x.\n",
		p->pid);
	return -1;
}

static int print_request(const struct process *p, const struct request *r)
{
	struct mappings all = { };
	struct range range;
	int failed;

	if (r->end.given) {
		range.first = r->start.value / p->page_size;
		range.last = r->end.value / p->page_size +
			     (r->end.value % p->page_size != 0);
		return print_range(p, range);
	}
	failed = read_mappings(p, &all);
	if (!failed && r->start.given)
		failed = print_rest_of_mapping(p, &all, &r->start);
	else if (!failed)
		failed = print_all_mappings(p, &all);
	free(all.ranges);
	return failed;
}

int main(int argc, char **argv)
{
	static char output[1 << 20];
	struct process process;
	struct request request;
	int failed;

	/* A closed pipe is a failed write, with a message, like a full disk. */
	signal(SIGPIPE, SIG_IGN);
	request = parse_arguments(argc, argv);
	setvbuf(stdout, output, _IOFBF, sizeof(output));
	open_process(&process, request.pid);
	failed = print_request(&process, &request);
	if (finish_output())
		failed = 1;
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
