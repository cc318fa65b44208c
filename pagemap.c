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

/*
 * Swap areas have the types from 0 on. Those at the end are none: pages that are
 * being migrated, poisoned ones, those that a device keeps, and markers. That is
 * ten of the 32 at most; where it is fewer, someone would have to use more than
 * 22 areas to be misunderstood (MAX_SWAPFILES in include/linux/swap.h).
 */
#define FIRST_SPECIAL_TYPE	22

#define DECIMAL_DIGITS	"0123456789"
#define HEX_DIGITS	DECIMAL_DIGITS "abcdefABCDEF"

/* Entries in one read: 512 KiB for 256 MiB of a process with 4 kB pages. */
#define BATCH		(64 * 1024)

/* Lines are written when there are so many; the longest is shorter than that. */
#define OUTPUT_SIZE	(128 * 1024)
#define LINE_ROOM	1024
/* Columns of a line, 0x and pfn in them. */
#define ADDRESS_WIDTH	16
#define PLACE_WIDTH	14

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

/* Neighbouring pages, and what is known of each. */
struct batch {
	unsigned long first;
	long count;
	uint64_t entries[BATCH];
};

enum kind { ANON, FILE_SHARED, SWAPPED, SPECIAL, NOT_PRESENT, KINDS };

static const char *const kind_names[KINDS] = {
	[ANON] = "anon",
	[FILE_SHARED] = "file/shared",
	[SWAPPED] = "swapped",
	[SPECIAL] = "special entry",
	[NOT_PRESENT] = "not present",
};

/* What is wanted of which process, what was read, and what was counted. */
struct run {
	struct options options;
	struct process process;
	struct batch batch;
	unsigned long pages[KINDS];
};

static const char usage[] =
	"Usage: pagemap [OPTION]... PID [START [END]]\n"
	"Print what /proc/PID/pagemap says of each page in [START, END).\n"
	"\n"
	"START and END are addresses in bytes, hexadecimal with 0x or decimal; START is\n"
	"rounded down to its page, END up. Without END: to the end of the mapping that\n"
	"START lies in. Without START: every mapping of PID (see /proc/PID/maps).\n"
	"\n"
	"  -p, --present  only pages that are present\n"
	"  -s, --summary  in place of a line for each page, how many there are of a kind\n"
	"  -h, --help     print this and exit\n"
	"  -V, --version  print the version and exit\n"
	"\n"
	"Kinds: `anon' is a private page, `file/shared' one of a file or of shared memory;\n"
	"`special entry' is what lies where a swapped page would, but in no swap area: a\n"
	"page that is being migrated, is poisoned, is kept by a device, or a marker.\n"
	"\n"
	"Frame numbers are for root (CAP_SYS_ADMIN). Exit status: 0 done, 1 an error,\n"
	"2 wrong usage, 3 the kernel hides frame numbers from this user.\n";

static _Noreturn void die_usage(void)
{
	fputs("Try 'pagemap --help'.\n", stderr);
	exit(EXIT_USAGE);
}

/* ---- output ---- */

static struct {
	char text[OUTPUT_SIZE];
	size_t used;
} output;

/* 0, or -1 once it has said why. */
static int write_text(const char *text, size_t size)
{
	ssize_t n;

	for (; size; text += n, size -= (size_t)n) {
		n = write(STDOUT_FILENO, text, size);
		if (n < 0) {
			error(0, errno, "cannot write the output");
			return -1;
		}
	}
	return 0;
}

static int flush_output(void)
{
	size_t size = output.used;

	output.used = 0;
	return write_text(output.text, size);
}

/* Where the next line goes; NULL: those before it could not be written. */
static char *begin_line(void)
{
	if (output.used > OUTPUT_SIZE - LINE_ROOM && flush_output())
		return NULL;
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
	int digits = (64 + 3 - __builtin_clzll(value | 1)) / 4;

	for (int i = digits; i--; value >>= 4)
		at[i] = "0123456789abcdef"[value & 15];
	return at + digits;
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
		{ "present", no_argument, NULL, 'p' },
		{ "summary", no_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ }
	};
	struct options options = { };
	int c;

	while ((c = getopt_long(argc, argv, "pshV", names, NULL)) != -1) {
		switch (c) {
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

/* 0: there are the next pages of a range, or some of them. */
static int read_batch(const struct process *p, struct range range,
			struct batch *b)
{
	unsigned long left = range.last - range.first;

	b->first = range.first;
	b->count = read_entries(p->pagemap, b->first,
				left < BATCH ? left : BATCH, b->entries);
	if (b->count > 0)
		return 0;
	if (b->count < 0)
		error(0, errno, "cannot read /proc/%d/pagemap at 0x%lx", p->pid,
		      b->first * p->page_size);
	else
		explain_no_entry(p, b->first);
	return -1;
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

/* ---- what is made of it ---- */

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

static int print_page(const struct run *run, long i)
{
	const struct batch *b = &run->batch;
	char *line = begin_line();

	if (!line)
		return -1;
	end_line(put_page(line, (b->first + i) * run->process.page_size,
			  b->entries[i]));
	return 0;
}

static enum kind kind_of(uint64_t entry)
{
	if (entry & PM_PRESENT)
		return entry & PM_FILE_SHARED ? FILE_SHARED : ANON;
	if (!(entry & PM_SWAPPED))
		return NOT_PRESENT;
	return (entry & PM_TYPE) < FIRST_SPECIAL_TYPE ? SWAPPED : SPECIAL;
}

static int print_counts(const char *kind, unsigned long pages,
			unsigned long page_size)
{
	char *line = begin_line();

	if (!line)
		return -1;
	end_line(line + sprintf(line, "%-16s %14lu %14lu", kind, pages,
				pages * (page_size / 1024)));
	return 0;
}

static int print_summary(const struct run *run)
{
	unsigned long total = 0, page_size = run->process.page_size;
	char *line = begin_line();

	if (!line)
		return -1;
	end_line(line + sprintf(line, "%-16s %14s %14s", "KIND", "PAGES", "kB"));
	for (int kind = 0; kind < KINDS; kind++) {
		total += run->pages[kind];
		if (print_counts(kind_names[kind], run->pages[kind], page_size))
			return -1;
	}
	return print_counts("total", total, page_size);
}

static int show_batch(struct run *run)
{
	const struct options *options = &run->options;
	const struct batch *b = &run->batch;

	for (long i = 0; i < b->count; i++) {
		if (options->present && !(b->entries[i] & PM_PRESENT))
			continue;
		if (options->summary)
			run->pages[kind_of(b->entries[i])]++;
		else if (print_page(run, i))
			return -1;
	}
	return 0;
}

static int show_range(struct run *run, struct range range)
{
	while (range.first < range.last) {
		if (read_batch(&run->process, range, &run->batch) ||
		    show_batch(run))
			return -1;
		range.first += run->batch.count;
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

int main(int argc, char **argv)
{
	static struct run run;
	struct request request;
	int failed;

	/* A closed pipe is a failed write, with a message, like a full disk. */
	signal(SIGPIPE, SIG_IGN);
	request = parse_arguments(argc, argv);
	run.options = request.options;
	open_process(&run.process, request.pid);
	failed = show_request(&run, &request);
	if (!failed && run.options.summary)
		failed = print_summary(&run);
	if (flush_output())
		failed = -1;
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
