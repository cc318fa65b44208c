// SPDX-License-Identifier: GPL-2.0-only
/*
 * lazy_allocation: does Linux give memory when it is asked for, or when it is
 * touched?
 *
 * Takes memory step by step, and prints a line for each step: VSZ and RSS of
 * this process, how they changed, what change was expected and whether it came,
 * to the kB; then a chart of it.
 *
 * VSZ, RSS and SWAP are lkm5's. It is loaded (pid=OURS vmas=0) and unloaded
 * again around each step, and what it said is read from /dev/kmsg. Pss (in
 * which a page that two processes share counts half) and the huge pages are
 * from /proc/PID/smaps_rollup.
 *
 * By hand: run any program, and look at it before and after it takes memory
 * with
 *
 *	sudo insmod lkm5.ko pid=PID vmas=0; sudo rmmod lkm5; sudo dmesg | grep lkm5 | tail
 *	sudo grep -E '^(Rss|Pss):' /proc/PID/smaps_rollup; ps -o vsz,rss PID
 *
 * Exactness. A held line means: VSZ changed by just what was expected, and so
 * did Total RSS and SWAP together (a page that the kernel swapped out between
 * two lines was given all the same). This process would spoil that with pages
 * of its own, of program, C library, heap and stack, at the first use of each.
 * So malloc and the stack are used in advance, and then everything there is is
 * locked into memory, where it is and stays counted. Huge pages are off but for
 * their own step.
 *
 * Signals. INT, TERM, HUP and QUIT end the program between two measurements,
 * and all signals wait while the module is in. Only SIGKILL can leave it
 * loaded: then sudo rmmod lkm5.
 *
 * Exit status: 0 all expectations held, 1 one failed or an error, 2 wrong
 * usage.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#ifndef LKM_VERSION
#define LKM_VERSION "0"
#endif

/* <linux/module.h> has it from 5.17 on */
#ifndef MODULE_INIT_COMPRESSED_FILE
#define MODULE_INIT_COMPRESSED_FILE 4
#endif

#define EXIT_USAGE	2
#define MIB		(1024UL * 1024)
#define MAX_ROWS	20
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

enum verdict { OPEN, HELD, FAILED };

static const char *const verdict_words[] = { "-", "held", "FAILED" };

/* What was seen of one process at one moment, in kB. */
struct figures {
	unsigned long vsz;
	unsigned long rss;
	unsigned long rss_anon;
	unsigned long rss_file;
	unsigned long rss_shmem;
	unsigned long swap;
	unsigned long pss;
	unsigned long huge;
};

/* A change, in kB, of which something is known in advance, or not. */
struct expectation {
	bool stated;
	bool huge_page;
	long vsz;
	long rss;
	const char *otherwise;
};

struct row {
	const char *step;
	pid_t pid;
	struct figures is;
	struct figures was;
	struct expectation expected;
	enum verdict verdict;
};

/* lkm5.ko, kept open, and the log that it writes to. */
struct module {
	char path[PATH_MAX];
	int file;
	int flags;
	int log;
};

/*
 * Does as it is told through one pipe (how many pages to write), answers
 * through the other.
 */
struct child {
	pid_t pid;
	int orders;
	int answers;
};

struct options {
	unsigned long size;
	const char *csv;
	const char *module;
	unsigned int steps;
};

struct demo {
	struct options options;
	struct module module;
	struct child child;
	unsigned long page_size;
	unsigned long huge_size;
	unsigned long huge_given;
	char *chunk;
	char *pages;
	unsigned long page_count;
	char *huge;
	struct row rows[MAX_ROWS];
	unsigned int row_count;
};

static volatile sig_atomic_t interrupted;

static void note_signal(int number)
{
	interrupted = number;
}

static long kb(unsigned long bytes)
{
	return (long)(bytes / 1024);
}

static int failed_to(const char *what)
{
	error(0, errno, "cannot %s", what);
	return -1;
}

/* A write that failed before it was flushed left only ferror(). */
static int flush_output(void)
{
	if (fflush(stdout) || ferror(stdout))
		return failed_to("write the output");
	return 0;
}

/* ---- lkm5: in, out, and what it said ---- */

static const unsigned char xz_magic[] = { 0xfd, '7', 'z', 'X', 'Z', 0 };
static const unsigned char zstd_magic[] = { 0x28, 0xb5, 0x2f, 0xfd };
static const unsigned char gzip_magic[] = { 0x1f, 0x8b };

static bool is_compressed(int file)
{
	unsigned char head[sizeof(xz_magic)] = { };

	if (pread(file, head, sizeof(head), 0) < 0)
		return false; /* loading it will say why */
	return !memcmp(head, xz_magic, sizeof(xz_magic)) ||
	       !memcmp(head, zstd_magic, sizeof(zstd_magic)) ||
	       !memcmp(head, gzip_magic, sizeof(gzip_magic));
}

static int try_module(struct module *m, const char *folder, const char *suffix)
{
	int n = snprintf(m->path, sizeof(m->path), "%s/lkm5.ko%s", folder,
			 suffix);

	if (n < 0 || (size_t)n >= sizeof(m->path))
		return -1;
	m->file = open(m->path, O_RDONLY | O_CLOEXEC);
	return m->file < 0 ? -1 : 0;
}

static int find_installed_module(struct module *m, const char *release)
{
	static const char *const folders[] = {
		"updates/dkms", "updates", "extra", "misc", "kernel/extra",
	};
	static const char *const suffixes[] = { "", ".xz", ".zst", ".gz" };
	char folder[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		snprintf(folder, sizeof(folder), "/lib/modules/%s/%s", release,
			 folders[i]);
		for (size_t k = 0; k < ARRAY_SIZE(suffixes); k++)
			if (!try_module(m, folder, suffixes[k]))
				return 0;
	}
	return -1;
}

static int find_module(struct module *m)
{
	char folder[PATH_MAX];
	struct utsname system;
	ssize_t n;

	n = readlink("/proc/self/exe", folder, sizeof(folder) - 1);
	folder[n > 0 ? n : 0] = '\0';
	if (!try_module(m, dirname(folder), ""))
		return 0;
	uname(&system);
	if (!find_installed_module(m, system.release))
		return 0;
	error(0, 0,
	      "no lkm5.ko in %s or below /lib/modules/%s: make it, or name one with --module",
	      folder, system.release);
	return -1;
}

/*
 * What is not lkm5 would stay loaded, under a name that we do not know. A
 * module's name is in it, in its .modinfo, behind a zero byte; of a compressed
 * one this cannot be seen.
 */
static bool is_lkm5(int file)
{
	static const char name[] = "\0name=lkm5";
	struct stat about;
	bool found;
	void *all;

	if (fstat(file, &about) || !S_ISREG(about.st_mode) || !about.st_size)
		return false;
	all = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, file,
		   0);
	if (all == MAP_FAILED)
		return false;
	found = memmem(all, (size_t)about.st_size, name, sizeof(name));
	munmap(all, (size_t)about.st_size);
	return found;
}

static int open_module(struct module *m, const char *path)
{
	if (path) {
		snprintf(m->path, sizeof(m->path), "%s", path);
		m->file = open(path, O_RDONLY | O_CLOEXEC);
		if (m->file < 0) {
			error(0, errno, "cannot open the module %s", path);
			return -1;
		}
	} else if (find_module(m)) {
		return -1;
	}
	m->flags = is_compressed(m->file) ? MODULE_INIT_COMPRESSED_FILE : 0;
	if (!m->flags && !is_lkm5(m->file)) {
		error(0, 0,
		      "%s is not the module lkm5: make it, and name lkm5.ko with --module",
		      m->path);
		return -1;
	}
	m->log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (m->log < 0) {
		error(0, errno, "cannot read the kernel log, /dev/kmsg");
		return -1;
	}
	return 0;
}

/*
 * The next line of lkm5 in the log of this level or a graver one, without its
 * prefix; NULL behind the last. A record reads "6,1042,98765432,-;lkm5: Total
 * VSZ = 2488", the first number being facility * 8 + level. Facility 0 is the
 * kernel: what a program writes to /dev/kmsg has another. Sets *lost when
 * records were overwritten before they were read (EPIPE: the next read goes on
 * behind the gap).
 */
static const char *next_line(int fd, unsigned long level, bool *lost)
{
	static char record[8192 + 1];
	char *text;
	ssize_t n;

	for (;;) {
		n = read(fd, record, sizeof(record) - 1);
		if (n < 0 && errno == EPIPE)
			*lost = true;
		else if (n <= 0)
			return NULL;
		if (n < 0)
			continue;
		record[n] = '\0';
		*strchrnul(record, '\n') = '\0';
		text = strchr(record, ';');
		if (text && strtoul(record, NULL, 10) <= level &&
		    !strncmp(text + 1, "lkm5: ", 6))
			return text + 1 + 6;
	}
}

/* A number behind its label; *at moves behind both. */
static bool take_number(const char **at, const char *label,
			unsigned long *number)
{
	size_t length = strlen(label);
	char *rest;

	if (strncmp(*at, label, length) || !strchr("0123456789", (*at)[length]))
		return false;
	errno = 0;
	*number = strtoul(*at + length, &rest, 10);
	*at = rest;
	return !errno;
}

enum { PID_LINE, VSZ_LINE, RSS_LINE, PARTS_LINE, LINES };

static const char *const line_names[LINES] = {
	"PID", "Total VSZ", "Total RSS", "RSS ANON ... SWAP",
};

/* Which line it is; LINES when none of those that are wanted, or not whole. */
static int parse_line(const char *line, pid_t pid, struct figures *f)
{
	unsigned long number;

	if (take_number(&line, "PID: ", &number))
		return number == (unsigned long)pid ? PID_LINE : LINES;
	if (take_number(&line, "Total VSZ = ", &f->vsz))
		return *line ? LINES : VSZ_LINE;
	if (take_number(&line, "Total RSS = ", &f->rss))
		return *line ? LINES : RSS_LINE;
	if (take_number(&line, "RSS ANON = ", &f->rss_anon) &&
	    take_number(&line, " | RSS FILE = ", &f->rss_file) &&
	    take_number(&line, " | RSS SHMEM = ", &f->rss_shmem) &&
	    take_number(&line, " | SWAP = ", &f->swap))
		return PARTS_LINE;
	return LINES;
}

static int read_report(const struct module *m, pid_t pid, struct figures *f)
{
	bool seen[LINES + 1] = { };
	bool lost = false;
	const char *line;

	while ((line = next_line(m->log, LOG_DEBUG, &lost)))
		seen[parse_line(line, pid, f)] = true;
	for (int i = 0; i < LINES; i++) {
		if (seen[i])
			continue;
		error(0, 0, "lkm5's report of process %d lacks the line '%s'%s",
		      pid, line_names[i], lost ? ": the log overflowed" : "");
		return -1;
	}
	return 0;
}

/* NULL where there is none. */
static const char *load_advice(int failure, bool compressed)
{
	switch (failure) {
	case EEXIST:
		return "lkm5 is loaded already: sudo rmmod lkm5";
	case EPERM:
		return "Secure Boot (sign it, or switch that off), kernel.modules_disabled or a "
		       "container forbids it";
	case EKEYREJECTED:
	case ENOKEY:
	case EBADMSG:
		return "this kernel takes signed modules only: sign it, or switch Secure Boot off";
	case ENOEXEC:
	case ENOENT:
		return "it is not for the running kernel: make clean, then make";
	case EINVAL:
	case EOPNOTSUPP:
		if (compressed)
			return "this kernel cannot unpack it: unpack it, and use --module";
		return NULL;
	default:
		return NULL;
	}
}

/* Where there is nothing to advise, lkm5 itself has said why. */
static void explain_load(const struct module *m, int failure)
{
	const char *why = load_advice(failure, m->flags);
	bool lost = false;

	if (!why)
		why = next_line(m->log, LOG_ERR, &lost);
	error(0, 0, "cannot load %s (%s): %s", m->path, strerror(failure),
	      why ? why : "see sudo dmesg | tail");
}

/*
 * Somebody may hold the module for a moment (EAGAIN): a second is given to let
 * go of it.
 */
static int unload_module(void)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
	int failed = -1;

	for (int i = 0; i < 100 && failed; i++) {
		failed = (int)syscall(SYS_delete_module, "lkm5", O_NONBLOCK);
		if (failed && errno != EAGAIN && errno != EBUSY)
			break;
		if (failed)
			nanosleep(&pause, NULL);
	}
	return failed;
}

/*
 * Load and unload with every signal held back: delete_module would give up with
 * EINTR, and a deadly signal would leave the module behind.
 */
static int run_module(const struct module *m, pid_t pid)
{
	int load_failure = 0, unload_failure = 0;
	char parameters[64];
	sigset_t all, before;

	snprintf(parameters, sizeof(parameters), "pid=%d vmas=0", pid);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	lseek(m->log, 0, SEEK_END);
	if (syscall(SYS_finit_module, m->file, parameters, m->flags))
		load_failure = errno;
	else if (unload_module())
		unload_failure = errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (load_failure)
		explain_load(m, load_failure);
	else if (unload_failure == ENOENT)
		error(0, 0,
		      "%s holds another module than lkm5: see lsmod, and rmmod it",
		      m->path);
	else if (unload_failure)
		error(0, unload_failure, "lkm5 stays loaded; sudo rmmod lkm5");
	return load_failure || unload_failure ? -1 : 0;
}

/* ---- /proc ---- */

/* Read without stdio, whose buffers would come out of the heap. */
static ssize_t read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t n = -1;

	if (fd < 0)
		return -1;
	while (length < size - 1 &&
	       (n = read(fd, text + length, size - 1 - length)) > 0)
		length += (size_t)n;
	close(fd);
	text[length] = '\0';
	return n < 0 ? -1 : (ssize_t)length;
}

/* The number behind "\nLabel:" and blanks. */
static int parse_field(const char *text, const char *label,
		       unsigned long *number)
{
	const char *at = strstr(text, label);
	char *rest;

	if (!at)
		return -1;
	at += strlen(label);
	errno = 0;
	*number = strtoul(at, &rest, 10);
	return errno || rest == at ? -1 : 0;
}

static int read_rollup(pid_t pid, struct figures *f)
{
	static char text[4096];
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	if (read_file(path, text, sizeof(text)) >= 0 &&
	    !parse_field(text, "\nPss:", &f->pss) &&
	    !parse_field(text, "\nAnonHugePages:", &f->huge))
		return 0;
	error(0, 0, "cannot read Pss and AnonHugePages in %s", path);
	return -1;
}

static int measure(const struct module *m, pid_t pid, struct figures *f)
{
	if (interrupted || run_module(m, pid) || read_report(m, pid, f))
		return -1;
	return read_rollup(pid, f);
}

/*
 * What the steps take at most: the area, its copy by the child, a huge page,
 * and some to spare.
 */
static int check_memory(const struct demo *d)
{
	unsigned long wanted =
		d->options.size / 1024 * 2 + d->huge_size / 1024 + 16 * 1024;
	static char text[8192];
	unsigned long available;

	if (read_file("/proc/meminfo", text, sizeof(text)) < 0 ||
	    parse_field(text, "\nMemAvailable:", &available) ||
	    wanted <= available)
		return 0;
	error(0, 0,
	      "--size %lu kB takes %lu kB of memory, and %lu kB are available: choose less",
	      d->options.size / 1024, wanted, available);
	return -1;
}

/* 0 where the kernel knows no huge pages. */
static unsigned long read_huge_size(void)
{
	char text[32];

	if (read_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size",
		      text, sizeof(text)) <= 0)
		return 0;
	return strtoul(text, NULL, 10);
}

/* ---- the steps: what each does, and what should change by it ---- */

static void expect(struct expectation *e, long vsz, long rss)
{
	*e = (struct expectation){ .stated = true, .vsz = vsz, .rss = rss };
}

static void *page_at(const struct demo *d, unsigned long number)
{
	return d->pages + number * d->page_size;
}

/*
 * A different word in each page, so that no one can merge them (KSM) and make
 * them fewer.
 */
static int write_pages(const struct demo *d, unsigned long first,
		       unsigned long count)
{
	for (unsigned long i = first; i < first + count && !interrupted; i++)
		*(volatile unsigned long *)page_at(d, i) = i + 1;
	return interrupted ? -1 : 0;
}

static int do_nothing(struct demo *d, struct expectation *e)
{
	(void)d;
	(void)e;
	return 0;
}

/*
 * The C library maps the request and a header of two words, rounded up to
 * pages: one page more than the size, which is whole pages, and the header is
 * in the first one. What follows that page are as many pages as the size has,
 * untouched (of the last, only its first two words are ours).
 */
static int do_malloc(struct demo *d, struct expectation *e)
{
	d->chunk = malloc(d->options.size);
	if (!d->chunk)
		return failed_to("allocate --size bytes");
	d->pages = (char *)(((uintptr_t)d->chunk + d->page_size - 1) &
			    ~(d->page_size - 1));
	d->page_count = d->options.size / d->page_size;
	expect(e, kb(d->options.size + d->page_size), kb(d->page_size));
	return 0;
}

/* All of them become the one zero page, which is counted nowhere. */
static int do_read(struct demo *d, struct expectation *e)
{
	for (unsigned long i = 0; i < d->page_count && !interrupted; i++)
		(void)*(volatile char *)page_at(d, i);
	expect(e, 0, 0);
	return interrupted ? -1 : 0;
}

static int write_quarter(struct demo *d, struct expectation *e,
			 unsigned long quarter)
{
	unsigned long count = d->page_count / 4;

	expect(e, 0, kb(count * d->page_size));
	return write_pages(d, quarter * count, count);
}

static int do_write_1(struct demo *d, struct expectation *e)
{
	return write_quarter(d, e, 0);
}

static int do_write_2(struct demo *d, struct expectation *e)
{
	return write_quarter(d, e, 1);
}

static int do_write_3(struct demo *d, struct expectation *e)
{
	return write_quarter(d, e, 2);
}

static int do_write_4(struct demo *d, struct expectation *e)
{
	return write_quarter(d, e, 3);
}

/*
 * A mapping of the size of a huge page where one fits: cut out of one twice as
 * large.
 */
static char *map_aligned(unsigned long size)
{
	char *all, *aligned;

	all = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		return NULL;
	aligned = (char *)(((uintptr_t)all + size - 1) & ~(size - 1));
	if (aligned > all)
		munmap(all, (size_t)(aligned - all));
	if (aligned < all + size)
		munmap(aligned + size, (size_t)(all + size - aligned));
	return aligned;
}

static int do_huge_page(struct demo *d, struct expectation *e)
{
	if (!d->huge_size) {
		e->otherwise = "no THP here";
		return 0;
	}
	d->huge = map_aligned(d->huge_size);
	if (!d->huge)
		return failed_to("map the room for a huge page");
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	madvise(d->huge, d->huge_size, MADV_HUGEPAGE);
	*(volatile char *)d->huge = 1;
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	expect(e, kb(d->huge_size), kb(d->huge_size));
	e->huge_page = true;
	return 0;
}

static _Noreturn void run_child(const struct demo *d, int orders, int answers)
{
	unsigned long count;

	/* should the parent be killed: not to write on for its own sake */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	signal(SIGQUIT, SIG_DFL);
	interrupted = 0;
	/* ends, too, when its parent does: the pipe is closed then */
	while (read(orders, &count, sizeof(count)) == sizeof(count)) {
		write_pages(d, 0, count);
		if (write(answers, &count, sizeof(count)) != sizeof(count))
			break;
	}
	_exit(0);
}

static int order_child(const struct child *c, unsigned long count)
{
	unsigned long answer;

	if (write(c->orders, &count, sizeof(count)) == sizeof(count) &&
	    read(c->answers, &answer, sizeof(answer)) == sizeof(answer))
		return 0;
	if (!interrupted)
		error(0, 0, "the child process ended before its time");
	return -1;
}

static void end_child(struct child *c)
{
	if (c->pid <= 0)
		return;
	close(c->orders);
	close(c->answers);
	kill(c->pid, SIGKILL);
	while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
		;
	c->pid = 0;
}

/*
 * The child has all pages that its parent has, and none of them twice. Its own
 * RSS is counted from here on, after a rehearsal, an order of no pages: the
 * file pages of its program come anew to it.
 */
static int do_fork(struct demo *d, struct expectation *e)
{
	int orders[2], answers[2];

	if (pipe2(orders, O_CLOEXEC))
		return failed_to("make a pipe");
	if (pipe2(answers, O_CLOEXEC)) {
		close(orders[0]);
		close(orders[1]);
		return failed_to("make a pipe");
	}
	d->child = (struct child){ fork(), orders[1], answers[0] };
	if (!d->child.pid) {
		close(orders[1]);
		close(answers[0]);
		run_child(d, orders[0], answers[1]);
	}
	close(orders[0]);
	close(answers[1]);
	if (d->child.pid < 0)
		return failed_to("fork"); /* and to end: the pipes go with us */
	expect(e, 0, 0);
	return order_child(&d->child, 0);
}

/*
 * Copies each page; of both processes the RSS stays, only their sum of Pss
 * grows.
 */
static int do_child_write(struct demo *d, struct expectation *e)
{
	expect(e, 0, 0);
	return order_child(&d->child, d->page_count);
}

static int do_dontneed(struct demo *d, struct expectation *e)
{
	end_child(&d->child);
	if (madvise(d->pages, d->options.size, MADV_DONTNEED))
		return failed_to("give the pages back (MADV_DONTNEED)");
	expect(e, 0, -kb(d->options.size));
	return 0;
}

static int do_free(struct demo *d, struct expectation *e)
{
	unsigned long mapped = d->options.size + d->page_size;

	free(d->chunk);
	if (d->huge) {
		munmap(d->huge, d->huge_size);
		mapped += d->huge_size;
	}
	expect(e, -kb(mapped), -kb(d->page_size + d->huge_given));
	return 0;
}

static const struct step {
	const char *name;
	int (*act)(struct demo *d, struct expectation *e);
	const char *of_child;
} steps[] = {
	{ "start", do_nothing, NULL },
	{ "malloc", do_malloc, NULL },
	{ "read every page", do_read, NULL },
	{ "write quarter 1", do_write_1, NULL },
	{ "write quarter 2", do_write_2, NULL },
	{ "write quarter 3", do_write_3, NULL },
	{ "write quarter 4", do_write_4, NULL },
	{ "touch a huge page", do_huge_page, NULL },
	{ "fork: parent", do_fork, "fork: child" },
	{ "child wrote: parent", do_child_write, "child wrote: child" },
	{ "MADV_DONTNEED", do_dontneed, NULL },
	{ "free", do_free, NULL },
};

/* ---- a row for each step ---- */

static long change(unsigned long is, unsigned long was)
{
	return (long)is - (long)was;
}

static long rss_change(const struct row *r)
{
	return change(r->is.rss, r->was.rss);
}

static void judge(struct row *r)
{
	const struct expectation *e = &r->expected;
	bool held = change(r->is.vsz, r->was.vsz) == e->vsz &&
		    rss_change(r) + change(r->is.swap, r->was.swap) == e->rss;

	r->verdict = !e->stated ? OPEN : held ? HELD : FAILED;
}

/*
 * smaps_rollup is asked whether there is a huge page, RSS then must have grown
 * by it.
 */
static void settle_huge_page(struct demo *d, struct row *r)
{
	if (change(r->is.huge, r->was.huge) < kb(d->huge_size)) {
		r->expected.stated = false;
		r->expected.otherwise = "none given";
	}
	d->huge_given = (unsigned long)rss_change(r) * 1024;
}

static int print_row(const struct row *r)
{
	const struct expectation *e = &r->expected;
	char expected[64];

	if (e->stated)
		snprintf(expected, sizeof(expected), "%+ld %+ld", e->vsz,
			 e->rss);
	else
		snprintf(expected, sizeof(expected), "%s",
			 e->otherwise ? e->otherwise : "-");
	printf("%-19s %7lu %+7ld %7lu %+7ld %7lu  %-12s %s\n", r->step,
	       r->is.vsz, change(r->is.vsz, r->was.vsz), r->is.rss,
	       rss_change(r), r->is.pss, expected, verdict_words[r->verdict]);
	if (flush_output())
		return -1;
	if (r->verdict == FAILED)
		error(0, 0,
		      "'%s' is off: RSS ANON %+ld, FILE %+ld, SHMEM %+ld, SWAP %+ld kB",
		      r->step, change(r->is.rss_anon, r->was.rss_anon),
		      change(r->is.rss_file, r->was.rss_file),
		      change(r->is.rss_shmem, r->was.rss_shmem),
		      change(r->is.swap, r->was.swap));
	return 0;
}

static const struct row *last_row_of(const struct demo *d, pid_t pid)
{
	for (unsigned int i = d->row_count; i > 0; i--)
		if (d->rows[i - 1].pid == pid)
			return &d->rows[i - 1];
	return NULL;
}

static int add_row(struct demo *d, const char *step, pid_t pid,
		   const struct expectation *e)
{
	const struct row *last = last_row_of(d, pid);
	struct row *r = &d->rows[d->row_count];

	r->step = step;
	r->pid = pid;
	if (measure(&d->module, pid, &r->is))
		return -1;
	r->was = last ? last->is : r->is;
	if (last)
		r->expected = *e;
	if (r->expected.huge_page)
		settle_huge_page(d, r);
	judge(r);
	d->row_count++;
	return print_row(r);
}

static int run_step(struct demo *d, const struct step *step)
{
	struct expectation e = { };

	if (step->act(d, &e) || add_row(d, step->name, getpid(), &e))
		return -1;
	if (!step->of_child)
		return 0;
	return add_row(d, step->of_child, d->child.pid, &e);
}

static int run_steps(struct demo *d)
{
	printf("%-19s %7s %7s %7s %7s %7s  %s\n", "kB", "VSZ", "change", "RSS",
	       "change", "PSS", "exp. VSZ RSS held?");
	for (unsigned int i = 0; i < d->options.steps; i++)
		if (interrupted || run_step(d, &steps[i]))
			return -1;
	return 0;
}

static unsigned int count_verdicts(const struct demo *d, enum verdict verdict)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < d->row_count; i++)
		count += d->rows[i].verdict == verdict;
	return count;
}

static int write_csv(const struct demo *d, FILE *csv)
{
	int failed;

	fputs("step,pid,vsz_kb,vsz_change_kb,rss_kb,rss_change_kb,expected_rss_change_kb,"
	      "pss_kb,pss_change_kb,held\n",
	      csv);
	for (unsigned int i = 0; i < d->row_count; i++) {
		const struct row *r = &d->rows[i];

		fprintf(csv, "%s,%d,%lu,%ld,%lu,%ld,", r->step, r->pid,
			r->is.vsz, change(r->is.vsz, r->was.vsz), r->is.rss,
			rss_change(r));
		if (r->expected.stated)
			fprintf(csv, "%ld", r->expected.rss);
		fprintf(csv, ",%lu,%ld,%s\n", r->is.pss,
			change(r->is.pss, r->was.pss),
			verdict_words[r->verdict]);
	}
	failed = ferror(csv);
	if (fclose(csv) || failed) {
		error(0, errno, "cannot write %s", d->options.csv);
		return -1;
	}
	return 0;
}

/* ---- the chart ---- */

struct brush {
	const char *rss;
	const char *vsz;
	/* the end of a bar of RSS, in eighths of a column, or NULL */
	const char *const *eighths;
};

/*
 * The locale's name is enough: to set it would need the locale installed, and
 * map its files.
 */
static bool speaks_utf8(void)
{
	static const char *const variables[] = { "LC_ALL", "LC_CTYPE", "LANG" };
	const char *name = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(variables) && (!name || !*name); i++)
		name = getenv(variables[i]);
	return name && (strcasestr(name, "UTF-8") || strcasestr(name, "UTF8"));
}

static unsigned int terminal_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	long n;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col)
		return size.ws_col;
	n = columns ? strtol(columns, NULL, 10) : 0;
	return n > 0 && n < 10000 ? (unsigned int)n : 80;
}

static void draw_bar(const struct brush *b, const struct row *r,
		     unsigned long width, unsigned long full)
{
	unsigned long rss = (r->is.rss * width * 8 + full / 2) / full;
	unsigned long vsz = (r->is.vsz * width + full - 1) / full;
	unsigned long column;

	if (!b->eighths)
		rss = (rss + 7) / 8 * 8;
	else if (!rss && r->is.rss)
		rss = 1;
	for (column = 0; column < rss / 8; column++)
		fputs(b->rss, stdout);
	if (rss % 8) {
		fputs(b->eighths[rss % 8], stdout);
		column++;
	}
	for (; column < vsz; column++)
		fputs(b->vsz, stdout);
}

static unsigned long larger(unsigned long a, unsigned long b)
{
	return a > b ? a : b;
}

static int draw_chart(const struct demo *d)
{
	static const char *const eighths[] = {
		"", "▏", "▎", "▍", "▌", "▋", "▊", "▉",
	};
	static const struct brush blocks = { "█", "░", eighths },
				  letters = { "#", ".", NULL };
	const struct brush *b = speaks_utf8() ? &blocks : &letters;
	unsigned long width = terminal_width(), names = 0, full = 1;

	for (unsigned int i = 0; i < d->row_count; i++) {
		names = larger(names, strlen(d->rows[i].step));
		full = larger(full, d->rows[i].is.vsz);
	}
	/*
	 * on a narrow terminal the names are cut, so that half of it is left to
	 * the bars
	 */
	names = names > width / 2 ? width / 2 : names;
	if (width - names < 2)
		return 0;
	if (width >= sizeof("# RSS  . VSZ, at most 1000000000 kB"))
		printf("\n%s RSS  %s VSZ, at most %lu kB\n", b->rss, b->vsz,
		       full);
	for (unsigned int i = 0; i < d->row_count; i++) {
		printf("%-*.*s ", (int)names, (int)names, d->rows[i].step);
		draw_bar(b, &d->rows[i], width - names - 1, full);
		putchar('\n');
	}
	return flush_output();
}

/* ---- the program ---- */

static void print_usage(FILE *to)
{
	fprintf(to,
		"Usage: sudo lazy_allocation [--size 64M] [--csv FILE] [--module PATH] [--step N]\n"
		"Take memory step by step, and see with lkm5 when the kernel really gives it.\n"
		"\n"
		"  --size N       bytes to allocate, with K, M or G behind it; 64M, 1M at least\n"
		"  --csv FILE     write the figures to FILE, too\n"
		"  --module PATH  the lkm5.ko to load (else: beside this program, or installed)\n"
		"  --step N       end after the first N of the %zu steps\n"
		"  --help         print this and exit\n"
		"  --version      print the version and exit\n"
		"\n"
		"Exit status: 0 all expectations held, 1 one failed or an error, 2 wrong usage.\n",
		ARRAY_SIZE(steps));
}

static _Noreturn void die_usage(void)
{
	fputs("Try 'lazy_allocation --help'.\n", stderr);
	exit(EXIT_USAGE);
}

static _Noreturn void finish_message(void)
{
	exit(flush_output() ? EXIT_FAILURE : EXIT_SUCCESS);
}

static unsigned long parse_number(const char *text, char **rest)
{
	unsigned long n = 0;

	errno = strchr("0123456789", *text) && *text ? 0 : EINVAL;
	if (!errno)
		n = strtoul(text, rest, 10);
	return errno ? 0 : n;
}

static unsigned long parse_size(const char *text)
{
	static const char units[] = "KMG";
	char *rest = NULL;
	unsigned long n = parse_number(text, &rest), unit = 1;
	const char *letter = n && *rest ? strchr(units, *rest & ~0x20) : NULL;

	if (letter) {
		unit = 1UL << (10 * (letter - units + 1));
		rest++;
	}
	if (n && !*rest && n <= LONG_MAX / 4 / unit && n * unit >= MIB)
		return n * unit;
	error(0, 0,
	      "--size '%s': a number of bytes with K, M or G behind it, 1M at least",
	      text);
	die_usage();
}

static unsigned int parse_steps(const char *text)
{
	char *rest = NULL;
	unsigned long n = parse_number(text, &rest);

	if (n && !*rest && n <= ARRAY_SIZE(steps))
		return (unsigned int)n;
	error(0, 0, "--step '%s': a number from 1 to %zu", text,
	      ARRAY_SIZE(steps));
	die_usage();
}

static struct options parse_arguments(int argc, char **argv)
{
	static const struct option known[] = {
		{ "size", required_argument, NULL, 's' },
		{ "csv", required_argument, NULL, 'c' },
		{ "module", required_argument, NULL, 'm' },
		{ "step", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ }
	};
	struct options o = { .size = 64 * MIB, .steps = ARRAY_SIZE(steps) };
	int c;

	while ((c = getopt_long(argc, argv, "hV", known, NULL)) != -1) {
		switch (c) {
		case 's':
			o.size = parse_size(optarg);
			break;
		case 'c':
			o.csv = optarg;
			break;
		case 'm':
			o.module = optarg;
			break;
		case 'n':
			o.steps = parse_steps(optarg);
			break;
		case 'h':
			print_usage(stdout);
			finish_message();
		case 'V':
			puts("lazy_allocation " LKM_VERSION);
			finish_message();
		default:
			die_usage();
		}
	}
	if (optind < argc) {
		error(0, 0, "'%s': only options are taken", argv[optind]);
		die_usage();
	}
	return o;
}

/*
 * A signal that the caller had ignored (nohup) stays ignored. No SA_RESTART:
 * waiting must end.
 */
static void catch_signals(void)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction action = { .sa_handler = note_signal }, old;

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (!sigaction(numbers[i], NULL, &old) &&
		    old.sa_handler != SIG_IGN)
			sigaction(numbers[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Deeper than any call of ours or of the C library's will go. */
static __attribute__((noinline)) void touch_stack(void)
{
	volatile char room[128 * 1024];

	for (size_t i = 0; i < sizeof(room); i += 1024)
		room[i] = 1;
}

/*
 * What would otherwise be touched for the first time between two measurements:
 * see above.
 */
static int prepare(const struct demo *d)
{
	static char output[4096];
	/* volatile, or the compiler may leave out malloc and free together */
	void *volatile chunk;
	struct figures rehearsal;

	setvbuf(stdout, output, _IOFBF, sizeof(output));
	/*
	 * fixed, or the first free() of a mapped chunk would let the next come
	 * from the heap
	 */
	mallopt(M_MMAP_THRESHOLD, 128 * 1024);
	chunk = malloc(d->options.size);
	if (!chunk)
		return failed_to("allocate --size bytes");
	free(chunk);
	touch_stack();
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		return failed_to("switch huge pages off for this process");
	if (mlockall(MCL_CURRENT))
		return failed_to("lock this program into memory");
	return measure(&d->module, getpid(), &rehearsal);
}

static int start(struct demo *d, FILE **csv)
{
	unsigned long unit;

	d->page_size = (unsigned long)sysconf(_SC_PAGESIZE);
	d->huge_size = read_huge_size();
	unit = 4 * d->page_size;
	d->options.size = (d->options.size + unit - 1) / unit * unit;
	if (geteuid()) {
		error(0, 0, "only root can load lkm5: sudo %s",
		      program_invocation_name);
		return -1;
	}
	if (check_memory(d) || open_module(&d->module, d->options.module))
		return -1;
	if (d->options.csv) {
		*csv = fopen(d->options.csv, "we");
		if (!*csv) {
			error(0, errno, "cannot write %s", d->options.csv);
			return -1;
		}
	}
	return prepare(d);
}

static void print_summary(const struct demo *d)
{
	unsigned int held = count_verdicts(d, HELD);
	unsigned int failed = count_verdicts(d, FAILED);

	printf("%u of %u expectations held, to the kB.\n", held, held + failed);
}

int main(int argc, char **argv)
{
	static struct demo d;
	FILE *csv = NULL;
	int failed;

	d.options = parse_arguments(argc, argv);
	catch_signals();
	failed = start(&d, &csv);
	if (!failed)
		failed = run_steps(&d);
	end_child(&d.child);
	if (!failed) {
		print_summary(&d);
		failed = draw_chart(&d);
	}
	if (csv && write_csv(&d, csv))
		failed = -1;
	if (interrupted) {
		error(0, 0, "interrupted; no module stays loaded");
		signal(interrupted, SIG_DFL);
		raise(interrupted);
	}
	failed = failed || count_verdicts(&d, FAILED);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
