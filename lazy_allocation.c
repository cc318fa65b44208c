// SPDX-License-Identifier: GPL-2.0-only
/*
 * lazy_allocation: does Linux give memory when it is asked for, or when it is
 * touched?
 *
 * Takes memory step by step and prints a line for each step: VSZ, RSS and Pss
 * of this process, how they changed, what change was expected and whether it
 * came, to the kB, and where in physical memory the first page lies; then a
 * chart of it.
 *
 * VSZ and RSS are lkm5's, the physical address is lkm4's. They are loaded and
 * unloaded around each step, and what they said is read from /dev/kmsg. Pss, in
 * which a page that two processes share counts half, is from
 * /proc/PID/smaps_rollup. By hand, of any program:
 *
 *	sudo insmod lkm5.ko pid=PID vmas=0; sudo rmmod lkm5; sudo dmesg | tail
 *	sudo insmod lkm4.ko pid=PID address=0xADDRESS vmas=0; sudo rmmod lkm4
 *	sudo grep -E '^(Rss|Pss):' /proc/PID/smaps_rollup; ps -o vsz,rss PID
 *
 * For exact figures everything that the program has at the start is locked into
 * memory, where it is and stays counted, and huge pages are off but for their
 * own step. Pages that were swapped out count as given.
 *
 * INT, TERM, HUP and QUIT end the program between two measurements; they wait
 * while a module is in. Only SIGKILL can leave one loaded: sudo rmmod lkm5 lkm4.
 *
 * Exit status: 0 all expectations held, 1 one failed or an error, 2 wrong
 * usage.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <getopt.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef LKM_VERSION
#define LKM_VERSION "0"
#endif

#define EXIT_USAGE 2
#define TRY_HELP "Try 'lazy_allocation --help'.\n"
#define MIB (1024L * 1024)
#define MAX_ROWS 20
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* No machine has more kB; and no sum or product that is made here overflows. */
#define MOST (1L << 47)

#define PLACE_LEN 48

/* What was seen of one process at one moment, in kB. */
struct figures {
	long vsz, rss, swap, pss;
	long anon, file, shmem; /* the parts of RSS */
	char place[PLACE_LEN]; /* of the first page: physical address, or why none */
};

/* Changes in kB; or else the words for why nothing is expected. */
struct expectation {
	const char *none;
	long vsz;
	long rss;
};

enum verdict { OPEN, HELD, FAILED };

static const char *const verdict_words[] = { "-", "held", "FAILED" };

struct row {
	const char *step;
	pid_t pid;
	struct figures is;
	struct figures was;
	struct expectation expected;
	enum verdict verdict;
};

struct module {
	const char *name, *path;
	int file; /* -1: there is none */
};

struct demo {
	long size, steps;
	long page_size, huge_size;
	const char *csv_path;
	struct module lkm4, lkm5;
	FILE *csv;
	int log;
	char *chunk, *pages, *huge;
	long written, huge_given;
	pid_t child;
	int orders;
	struct row rows[MAX_ROWS];
	unsigned int row_count;
	unsigned int counts[FAILED + 1];
};

static const int deadly[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
static volatile sig_atomic_t interrupted;

static void note_signal(int number)
{
	interrupted = number;
}

static long kb(long bytes)
{
	return bytes / 1024;
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

/* ---- the modules: in, out, and what they said ---- */

/* Beside the program, then among the installed ones, maybe compressed. */
static const char *find_lkm5(void)
{
	static char pattern[2 * PATH_MAX];
	char program[PATH_MAX];
	struct utsname system;
	glob_t found;
	ssize_t n;

	n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	program[n > 0 ? n : 0] = '\0';
	*basename(program) = '\0';
	snprintf(pattern, sizeof(pattern), "%slkm5.ko", program);
	if (!access(pattern, F_OK))
		return pattern;
	uname(&system);
	snprintf(pattern, sizeof(pattern),
		 "/lib/modules/%s/{updates,updates/dkms,extra}/lkm5.ko*",
		 system.release);
	if (!glob(pattern, GLOB_BRACE, NULL, &found))
		return found.gl_pathv[0];
	error(0, 0,
	      "no lkm5.ko in %s or below /lib/modules/%s: make it, or name one with --module",
	      program, system.release);
	return NULL;
}

/* What unpacks a module, by its name; NULL: nothing need. */
static const char *unpacker(const char *path)
{
	const char *suffix = strrchr(path, '.') ?: "";

	return !strcmp(suffix, ".gz")  ? "gzip" :
	       !strcmp(suffix, ".xz")  ? "xz" :
	       !strcmp(suffix, ".zst") ? "zstd" :
					 NULL;
}

/* A file in memory that holds what a program unpacks of a module. */
static int unpacked_file(const struct module *m, const char *program)
{
	char path[sizeof("/proc/self/fd/2147483647")];
	int memory = memfd_create(m->name, MFD_CLOEXEC);
	int status = -1, file;
	pid_t child;

	if (memory < 0)
		return failed_to("have memory to unpack a module in");
	child = fork();
	if (!child) {
		dup2(m->file, STDIN_FILENO);
		dup2(memory, STDOUT_FILENO);
		execlp(program, program, "-dc", NULL);
		_exit(EXIT_FAILURE);
	}
	if (child > 0)
		waitpid(child, &status, 0);
	/* the kernel takes no module that somebody may write to */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
	file = status ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	close(memory);
	if (file < 0)
		error(0, 0, "%s cannot unpack %s: is it installed, and the file whole?",
		      program, m->path);
	return file;
}

/*
 * Unpacked here, as modprobe does it: many kernels cannot, and those that can do not
 * know all that these programs write.
 */
static int open_module(struct module *m)
{
	const char *program = unpacker(m->path);
	int packed = open(m->path, O_RDONLY | O_CLOEXEC);

	m->file = packed;
	if (packed < 0 || !program)
		return 0;
	m->file = unpacked_file(m, program);
	close(packed);
	return m->file < 0 ? -1 : 0;
}

/* It lies beside lkm5, under the same name but for the digit; or is missed. */
static int open_lkm4(struct demo *d)
{
	char *path = strdup(d->lkm5.path);

	if (!path)
		return failed_to("copy the name of lkm5.ko");
	basename(path)[strlen("lkm")] = '4';
	d->lkm4.path = path;
	return open_module(&d->lkm4);
}

static int open_modules(struct demo *d)
{
	struct module *m = &d->lkm5;

	if (!m->path)
		m->path = find_lkm5();
	if (!m->path)
		return -1;
	/* another module would stay loaded, under a name that is not known */
	if (strncmp(basename(m->path), "lkm5.ko", strlen("lkm5.ko"))) {
		error(0, 0, "%s is not the module lkm5: name an lkm5.ko",
		      m->path);
		return -1;
	}
	if (open_module(m))
		return -1;
	if (m->file < 0) {
		error(0, errno, "cannot open the module %s", m->path);
		return -1;
	}
	d->log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return d->log < 0 ? failed_to("read the kernel log, /dev/kmsg") :
			    open_lkm4(d);
}

/*
 * The text of the kernel's next record in the log; NULL behind the last. It reads
 * "6,1042,98765432,-;lkm5: Total VSZ = 2488". The first number is facility * 8 +
 * level: below 8 it is the kernel's, not some program's. EPIPE tells of records that
 * were overwritten before they were read.
 */
static const char *next_record(const struct demo *d)
{
	static char record[8192 + 1];
	char *text;
	ssize_t n;

	while ((n = read(d->log, record, sizeof(record) - 1)) > 0 ||
	       (n < 0 && errno == EPIPE)) {
		record[n > 0 ? n : 0] = '\0';
		*strchrnul(record, '\n') = '\0';
		text = strchr(record, ';');
		if (text && atoi(record) < 8)
			return text + 1;
	}
	return NULL;
}

/* A module's next line in the log, without its prefix; NULL behind the last. */
static const char *next_line(const struct demo *d, const struct module *m)
{
	size_t length = strlen(m->name);
	const char *text;

	while ((text = next_record(d)))
		if (!strncmp(text, m->name, length) &&
		    !strncmp(text + length, ": ", 2))
			return text + length + 2;
	return NULL;
}

#define OTHER_KERNEL "it was built for another kernel: make clean, then make"
#define SIGNED_ONLY "takes only modules signed by a key that it trusts"
#define CHANGED \
	"it was changed after it was signed, which no kernel takes: make clean, then make, and sign it again"

/*
 * Why a module is refused, and what to do, by the error and what the kernel then says;
 * NULL: none of that. It is the table of docs/insmod.md, in its words.
 */
static const struct refusal {
	int error;
	const char *log;
	const char *advice;
} refusals[] = {
	{ EPERM, "Lockdown: ",
	  "the kernel is locked down, as by Secure Boot, and " SIGNED_ONLY
	  ": sign it (docs/insmod.md), or switch Secure Boot off" },
	{ EPERM, NULL,
	  "only root may load modules, not that of a container; and nobody where kernel.modules_disabled is 1: use sudo, on the host; a 1 lasts until the next boot" },
	{ EKEYREJECTED, "Loading of unsigned module",
	  "this kernel " SIGNED_ONLY
	  ", and it is not signed: sign it (docs/insmod.md)" },
	{ EKEYREJECTED, "Loading of module with unavailable key",
	  "this kernel " SIGNED_ONLY
	  ", and it is signed by another: enrol the key (docs/insmod.md)" },
	{ EKEYREJECTED, "Loading of module with unsupported crypto",
	  "this kernel " SIGNED_ONLY
	  ", and it is signed in a way that this kernel lacks: sign it again, by make sign" },
	{ EKEYREJECTED, NULL, CHANGED },
	{ EBADMSG, NULL, CHANGED },
	{ ENOEXEC, "disagrees about version of symbol", OTHER_KERNEL },
	{ ENOEXEC, "version magic", OTHER_KERNEL },
	{ ENOEXEC, NULL,
	  "it is no module, or a compressed one: make clean, then make; or unpack it first" },
	{ EINVAL, "disagrees about version of symbol", OTHER_KERNEL },
	{ ENOENT, NULL,
	  "the running kernel has not all that it was built for: make clean, then make" },
};

static const char *load_advice(const struct demo *d, const struct module *m,
			       int failure)
{
	const char *advice = "see sudo dmesg | tail", *record;
	const size_t count = ARRAY_SIZE(refusals);
	const struct refusal *r;
	static char text[64];

	if (failure == EEXIST) {
		snprintf(text, sizeof(text), "%s is loaded already: sudo rmmod %s",
			 m->name, m->name);
		return text;
	}
	for (r = refusals; r < refusals + count; r++)
		if (r->error == failure && !r->log)
			advice = r->advice;
	while ((record = next_record(d)))
		for (r = refusals; r < refusals + count; r++)
			if (r->error == failure && r->log &&
			    strstr(record, r->log))
				return r->advice;
	return advice;
}

/* Somebody may hold the module for a moment: he is given a second. */
static int unload(const struct module *m)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };

	for (int i = 0; i < 100; i++) {
		if (!syscall(SYS_delete_module, m->name, O_NONBLOCK))
			return 0;
		if (errno != EAGAIN && errno != EBUSY)
			break;
		nanosleep(&pause, NULL);
	}
	error(0, errno, "%s was loaded, and cannot be unloaded; see lsmod",
	      m->name);
	return -1;
}

/* With every signal held back: a deadly one would leave the module behind. */
static int run_module(const struct demo *d, const struct module *m,
		      const char *parameters)
{
	sigset_t all, before;
	int failed, failure;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	lseek(d->log, 0, SEEK_END);
	failed = (int)syscall(SYS_finit_module, m->file, parameters, 0);
	failure = errno;
	if (failed)
		error(0, 0, "cannot load %s (%s): %s", m->path, strerror(failure),
		      load_advice(d, m, failure));
	else
		failed = unload(m);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return failed;
}

static int no_report(const struct module *m, pid_t pid)
{
	error(0, 0, "there is no whole report by %s of process %d in the kernel log",
	      m->name, pid);
	return -1;
}

static bool are_sizes(const struct figures *f)
{
	const long all[] = { f->vsz, f->rss, f->swap, f->anon, f->file, f->shmem };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i] < 0 || all[i] > MOST)
			return false;
	return true;
}

static int read_sizes(const struct demo *d, pid_t pid, struct figures *f)
{
	int whose = 0, numbers = 0;
	char parameters[64];
	const char *line;

	snprintf(parameters, sizeof(parameters), "pid=%d vmas=0", pid);
	if (run_module(d, &d->lkm5, parameters))
		return -1;
	while ((line = next_line(d, &d->lkm5))) {
		numbers += sscanf(line, "PID: %d", &whose) == 1;
		numbers += sscanf(line, "Total VSZ = %ld", &f->vsz) == 1;
		numbers += sscanf(line, "Total RSS = %ld", &f->rss) == 1;
		numbers +=
			sscanf(line,
			       "RSS ANON = %ld | RSS FILE = %ld | RSS SHMEM = %ld | SWAP = %ld",
			       &f->anon, &f->file, &f->shmem, &f->swap) == 4;
	}
	return whose == pid && numbers == 4 && are_sizes(f) ?
		       0 :
		       no_report(&d->lkm5, pid);
}

/* Nothing is asked before there is a page, nor of a module that is not here. */
static int read_place(const struct demo *d, pid_t pid, struct figures *f)
{
	int whose = 0, places = 0;
	char parameters[64];
	const char *line;

	strcpy(f->place, "-");
	if (!d->pages || d->lkm4.file < 0)
		return 0;
	snprintf(parameters, sizeof(parameters), "pid=%d address=%p vmas=0",
		 pid, d->pages);
	if (run_module(d, &d->lkm4, parameters))
		return -1;
	while ((line = next_line(d, &d->lkm4))) {
		sscanf(line, "PID: %d", &whose);
		places += sscanf(line,
				 "The virtual address %*x maps to physical address %47[^\n]",
				 f->place) == 1;
		places += sscanf(line,
				 "The virtual address %*x maps to no physical address: %47[^\n]",
				 f->place) == 1;
	}
	return whose == pid && places == 1 ? 0 : no_report(&d->lkm4, pid);
}

/* ---- /proc ---- */

/*
 * The sum of the numbers behind a label, where lines begin with it. What a longer
 * line goes on with, the name of a file, is no beginning; and the number in a line
 * that is cut short may be.
 */
static int read_number(const char *path, const char *label, long *number)
{
	FILE *file = fopen(path, "re");
	bool begins = true, begun, found = false;
	long each, sum = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		begun = begins;
		begins = strchr(line, '\n');
		if (!begun || !begins || strncmp(line, label, strlen(label)) ||
		    sscanf(line + strlen(label), "%ld", &each) != 1)
			continue;
		found = each >= 0 && each <= MOST - sum;
		if (!found)
			break;
		sum += each;
	}
	if (file)
		fclose(file);
	if (found)
		*number = sum;
	return found ? 0 : -1;
}

static int measure(const struct demo *d, pid_t pid, struct figures *f)
{
	char path[64];

	if (interrupted || read_sizes(d, pid, f) || read_place(d, pid, f))
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	if (!read_number(path, "Pss:", &f->pss))
		return 0;
	error(0, 0, "cannot read Pss in %s", path);
	return -1;
}

/* The area, its copy by the child, a huge page, and some to spare. */
static int check_memory(const struct demo *d)
{
	long wanted = (2 * d->size + d->huge_size + 16 * MIB) / 1024;
	long available;

	if (read_number("/proc/meminfo", "MemAvailable:", &available) ||
	    wanted <= available)
		return 0;
	error(0, 0,
	      "--size %ld kB takes %ld kB of memory, and %ld kB are available: choose less",
	      d->size / 1024, wanted, available);
	return -1;
}

/* ---- the steps: what each does, and what should change by it ---- */

static void expect(struct expectation *e, long vsz, long rss)
{
	*e = (struct expectation){ .vsz = vsz, .rss = rss };
}

/*
 * The C library maps the size, which is whole pages, and one page more: its
 * header, two words, is at the beginning of it. The pages behind that one are
 * as many as the size has, and untouched.
 */
static int do_malloc(struct demo *d, struct expectation *e)
{
	d->chunk = malloc(d->size);
	if (!d->chunk)
		return failed_to("allocate --size bytes");
	d->pages = (char *)(((uintptr_t)d->chunk + d->page_size - 1) &
			    ~(d->page_size - 1));
	expect(e, kb(d->size + d->page_size), kb(d->page_size));
	return 0;
}

/* All of them become the one zero page, which is counted nowhere. */
static int do_read(struct demo *d, struct expectation *e)
{
	for (long i = 0; i < d->size && !interrupted; i += d->page_size)
		(void)*(volatile char *)(d->pages + i);
	expect(e, 0, 0);
	return 0;
}

/* Something else in each page, so that no one can merge them (KSM). */
static void write_pages(const struct demo *d, long from, long size)
{
	for (long i = from; i < from + size && !interrupted; i += d->page_size)
		*(volatile long *)(d->pages + i) = i + 1;
}

static int do_write_quarter(struct demo *d, struct expectation *e)
{
	long quarter = d->size / 4;

	write_pages(d, d->written, quarter);
	d->written += quarter;
	expect(e, 0, kb(quarter));
	return 0;
}

/*
 * In a mapping twice as large there is room for a huge page somewhere; what is
 * left on both sides has no rights, so that it can have no part in one. A byte
 * is written: the kernel gives a huge page for it, or does not.
 */
static int do_huge_page(struct demo *d, struct expectation *e)
{
	long size = d->huge_size, given = 0;
	char *page;

	*e = (struct expectation){ .none = "none given" };
	if (!size)
		return 0;
	d->huge = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	page = (char *)(((uintptr_t)d->huge + size - 1) & ~(size - 1));
	if (d->huge == MAP_FAILED ||
	    mprotect(page, size, PROT_READ | PROT_WRITE))
		return failed_to("map the room for a huge page");
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	madvise(page, size, MADV_HUGEPAGE);
	*(volatile char *)page = 1;
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	/*
	 * Not smaps_rollup: madvise() has just woken khugepaged, and where that
	 * waits for the mmap lock, rollup of older kernels lets go of it and leaves
	 * mappings out.
	 */
	read_number("/proc/self/smaps", "AnonHugePages:", &given);
	if (given) {
		d->huge_given = size;
		expect(e, kb(2 * size), kb(size));
	} else {
		munmap(d->huge, 2 * size);
	}
	return 0;
}

/* Writes as many bytes as it is told to, until its parent is gone. */
static _Noreturn void run_child(const struct demo *d, int orders)
{
	long size;

	for (size_t i = 0; i < ARRAY_SIZE(deadly); i++)
		signal(deadly[i], SIG_DFL);
	while (read(orders, &size, sizeof(size)) == sizeof(size)) {
		write_pages(d, 0, size);
		if (write(orders, &size, sizeof(size)) != sizeof(size))
			break;
	}
	_exit(0);
}

static int order_child(const struct demo *d, long size)
{
	if (write(d->orders, &size, sizeof(size)) == sizeof(size) &&
	    read(d->orders, &size, sizeof(size)) == sizeof(size))
		return 0;
	if (!interrupted)
		error(0, 0, "the child process ended before its time");
	return -1;
}

static void end_child(struct demo *d)
{
	if (d->child <= 0)
		return;
	kill(d->child, SIGKILL);
	while (waitpid(d->child, NULL, 0) < 0 && errno == EINTR)
		;
	d->child = 0;
}

/*
 * The child has all pages that its parent has, and none of them twice. Its
 * program's own pages come anew to it: an order of no pages is its rehearsal.
 */
static int do_fork(struct demo *d, struct expectation *e)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return failed_to("make a pair of sockets");
	d->child = fork();
	if (!d->child) {
		close(ends[0]);
		run_child(d, ends[1]);
	}
	close(ends[1]);
	d->orders = ends[0];
	if (d->child < 0)
		return failed_to("fork");
	expect(e, 0, 0);
	return order_child(d, 0);
}

/* Each page is copied: no RSS changes, the sum of both Pss grows. */
static int do_child_write(struct demo *d, struct expectation *e)
{
	expect(e, 0, 0);
	return order_child(d, d->size);
}

static int do_dontneed(struct demo *d, struct expectation *e)
{
	end_child(d);
	if (madvise(d->pages, d->size, MADV_DONTNEED))
		return failed_to("give the pages back (MADV_DONTNEED)");
	expect(e, 0, -kb(d->size));
	return 0;
}

static int do_free(struct demo *d, struct expectation *e)
{
	free(d->chunk);
	if (d->huge_given)
		munmap(d->huge, 2 * d->huge_given);
	expect(e, -kb(d->size + d->page_size + 2 * d->huge_given),
	       -kb(d->page_size + d->huge_given));
	return 0;
}

static const struct step {
	const char *name;
	int (*act)(struct demo *d, struct expectation *e);
	const char *of_child;
} steps[] = {
	{ "start", NULL, NULL },
	{ "malloc", do_malloc, NULL },
	{ "read every page", do_read, NULL },
	{ "write quarter 1", do_write_quarter, NULL },
	{ "write quarter 2", do_write_quarter, NULL },
	{ "write quarter 3", do_write_quarter, NULL },
	{ "write quarter 4", do_write_quarter, NULL },
	{ "touch a huge page", do_huge_page, NULL },
	{ "fork: parent", do_fork, "fork: child" },
	{ "child wrote: parent", do_child_write, "child wrote: child" },
	{ "MADV_DONTNEED", do_dontneed, NULL },
	{ "free", do_free, NULL },
};

/* ---- a row for each step ---- */

static enum verdict judge(const struct row *r)
{
	long vsz = r->is.vsz - r->was.vsz;
	long rss = r->is.rss - r->was.rss + r->is.swap - r->was.swap;

	if (r->expected.none)
		return OPEN;
	if (vsz == r->expected.vsz && rss == r->expected.rss)
		return HELD;
	return FAILED;
}

static int print_row(const struct row *r)
{
	char expected[64];

	snprintf(expected, sizeof(expected), "%+ld %+ld", r->expected.vsz,
		 r->expected.rss);
	printf("%-19s %7ld %+7ld %7ld %+7ld %7ld  %-14s %-6s %s\n", r->step,
	       r->is.vsz, r->is.vsz - r->was.vsz, r->is.rss,
	       r->is.rss - r->was.rss, r->is.pss,
	       r->expected.none ? r->expected.none : expected,
	       verdict_words[r->verdict], r->is.place);
	if (flush_output())
		return -1;
	if (r->verdict == FAILED)
		error(0, 0,
		      "'%s' is off: RSS ANON %+ld, FILE %+ld, SHMEM %+ld, SWAP %+ld kB",
		      r->step, r->is.anon - r->was.anon,
		      r->is.file - r->was.file, r->is.shmem - r->was.shmem,
		      r->is.swap - r->was.swap);
	return 0;
}

/* The first row of a process has nothing to be compared with. */
static int add_row(struct demo *d, const char *step, pid_t pid,
		   const struct expectation *e)
{
	struct row *r = &d->rows[d->row_count];

	*r = (struct row){ .step = step, .pid = pid, .expected.none = "-" };
	if (measure(d, pid, &r->is))
		return -1;
	r->was = r->is;
	for (unsigned int i = 0; i < d->row_count; i++) {
		if (d->rows[i].pid != pid)
			continue;
		r->was = d->rows[i].is;
		r->expected = *e;
	}
	r->verdict = judge(r);
	d->counts[r->verdict]++;
	d->row_count++;
	return print_row(r);
}

static int run_steps(struct demo *d)
{
	struct expectation e = {};

	printf("%-19s %7s %7s %7s %7s %7s  %-14s %-6s %s\n", "kB", "VSZ",
	       "change", "RSS", "change", "PSS", "exp. VSZ RSS", "held?",
	       "first page at");
	for (long i = 0; i < d->steps; i++) {
		const struct step *s = &steps[i];

		if ((s->act && s->act(d, &e)) ||
		    add_row(d, s->name, getpid(), &e))
			return -1;
		if (s->of_child && add_row(d, s->of_child, d->child, &e))
			return -1;
	}
	printf("%u of %u expectations held, to the kB.\n", d->counts[HELD],
	       d->counts[HELD] + d->counts[FAILED]);
	return 0;
}

static int write_csv(const struct demo *d)
{
	int failed;

	fputs("step,pid,vsz_kb,vsz_change_kb,rss_kb,rss_change_kb,"
	      "expected_rss_change_kb,pss_kb,pss_change_kb,held\n",
	      d->csv);
	for (unsigned int i = 0; i < d->row_count; i++) {
		const struct row *r = &d->rows[i];

		fprintf(d->csv, "%s,%d,%ld,%ld,%ld,%ld,", r->step, r->pid,
			r->is.vsz, r->is.vsz - r->was.vsz, r->is.rss,
			r->is.rss - r->was.rss);
		if (!r->expected.none)
			fprintf(d->csv, "%ld", r->expected.rss);
		fprintf(d->csv, ",%ld,%ld,%s\n", r->is.pss,
			r->is.pss - r->was.pss, verdict_words[r->verdict]);
	}
	failed = ferror(d->csv);
	if (!fclose(d->csv) && !failed)
		return 0;
	error(0, errno, "cannot write %s", d->csv_path);
	return -1;
}

/* ---- the chart ---- */

/* As the locale's name has it, be the locale installed or not. */
static bool speaks_utf8(void)
{
	static const char *const variables[] = { "LC_ALL", "LC_CTYPE", "LANG" };
	const char *name = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(variables) && (!name || !*name); i++)
		name = getenv(variables[i]);
	return name && (strcasestr(name, "UTF-8") || strcasestr(name, "UTF8"));
}

static int terminal_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	int n = columns ? atoi(columns) : 0;

	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col)
		return size.ws_col;
	return n > 0 && n < 10000 ? n : 80;
}

static int draw_chart(const struct demo *d)
{
	bool blocks = speaks_utf8();
	const char *rss_ink = blocks ? "█" : "#", *vsz_ink = blocks ? "░" : ".";
	long full = 1, column;
	int width = terminal_width(), names = 0;

	for (unsigned int i = 0; i < d->row_count; i++) {
		int length = (int)strlen(d->rows[i].step);

		names = length > names ? length : names;
		full = d->rows[i].is.vsz > full ? d->rows[i].is.vsz : full;
	}
	if (names > width / 2)
		names = width / 2; /* they are cut */
	printf("\n%s RSS  %s VSZ\n", rss_ink, vsz_ink);
	for (unsigned int i = 0; i < d->row_count; i++) {
		const struct figures *f = &d->rows[i].is;
		long room = width - names - 1;

		printf("%-*.*s ", names, names, d->rows[i].step);
		for (column = 0; column < (f->vsz * room + full - 1) / full;
		     column++)
			fputs(column * full < f->rss * room ? rss_ink : vsz_ink,
			      stdout);
		putchar('\n');
	}
	return flush_output();
}

/* ---- the program ---- */

static const char usage[] =
	"Usage: sudo lazy_allocation [--size 64M] [--csv FILE] [--module PATH] [--step N]\n"
	"Take memory step by step, and see with lkm5 when the kernel really gives it.\n"
	"\n"
	"  --size N       bytes to allocate, with K, M or G behind it; 64M, 1M at least\n"
	"  --csv FILE     write the figures to FILE, too\n"
	"  --module PATH  the lkm5.ko to load (else: beside this program, or installed)\n"
	"  --step N       end after the first N of the 12 steps\n"
	"  --help         print this and exit\n"
	"  --version      print the version and exit\n"
	"\n"
	"Exit status: 0 all expectations held, 1 one failed or an error, 2 wrong usage.\n";

_Static_assert(ARRAY_SIZE(steps) == 12, "--help and --step say how many there are");

static _Noreturn void die_usage(const char *option, const char *value,
				const char *right)
{
	error(0, 0, "%s '%s': %s", option, value, right);
	fputs(TRY_HELP, stderr);
	exit(EXIT_USAGE);
}

/* Digits, then maybe one of the units; 0 where it is not that, or too large. */
static long parse_number(const char *text, const char *units)
{
	const char *letter;
	long number, unit = 1;
	char *rest;

	if (*text < '0' || *text > '9')
		return 0;
	errno = 0;
	number = strtol(text, &rest, 10);
	letter = *rest ? strchr(units, *rest & ~0x20) : NULL;
	if (letter) {
		unit <<= 10 * (letter - units + 1);
		rest++;
	}
	return errno || *rest || number > LONG_MAX / 4 / unit ? 0
							      : number * unit;
}

static void parse_arguments(struct demo *d, int argc, char **argv)
{
	static const struct option known[] = {
		{ "size", required_argument, NULL, 's' },
		{ "csv", required_argument, NULL, 'c' },
		{ "module", required_argument, NULL, 'm' },
		{ "step", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{}
	};
	int c;

	while ((c = getopt_long(argc, argv, "hV", known, NULL)) != -1) {
		switch (c) {
		case 's':
			d->size = parse_number(optarg, "KMG");
			if (d->size < MIB)
				die_usage(
					"--size", optarg,
					"a number of bytes with K, M or G behind it, 1M at least");
			break;
		case 'c':
			d->csv_path = optarg;
			break;
		case 'm':
			d->lkm5.path = optarg;
			break;
		case 'n':
			d->steps = parse_number(optarg, "");
			if (!d->steps || d->steps > (long)ARRAY_SIZE(steps))
				die_usage(
					"--step", optarg,
					"a number from 1 to 12, as many steps there are");
			break;
		case 'h':
			fputs(usage, stdout);
			exit(flush_output() ? EXIT_FAILURE : EXIT_SUCCESS);
		case 'V':
			puts("lazy_allocation " LKM_VERSION);
			exit(flush_output() ? EXIT_FAILURE : EXIT_SUCCESS);
		default:
			fputs(TRY_HELP, stderr);
			exit(EXIT_USAGE);
		}
	}
	if (optind < argc)
		die_usage("argument", argv[optind], "only options are taken");
}

/* Who had one ignored (nohup) wants it so. No SA_RESTART: waiting must end. */
static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = note_signal }, old;

	for (size_t i = 0; i < ARRAY_SIZE(deadly); i++) {
		sigaction(deadly[i], NULL, &old);
		if (old.sa_handler != SIG_IGN)
			sigaction(deadly[i], &action, NULL);
	}
	signal(SIGPIPE, SIG_IGN);
}

/*
 * Everything is done once before it counts, so that the heap is there, and then
 * all of program, libraries, heap and stack is brought in and kept.
 */
static int rehearse(struct demo *d)
{
	struct figures rehearsal;
	int failed;

	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		return failed_to("switch huge pages off for this process");
	d->pages = (char *)d;
	failed = measure(d, getpid(), &rehearsal);
	d->pages = NULL;
	if (failed)
		return -1;
	if (mlockall(MCL_CURRENT))
		return failed_to("lock this program into memory");
	return 0;
}

static int start(struct demo *d)
{
	long unit;

	d->page_size = sysconf(_SC_PAGESIZE);
	read_number("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "",
		    &d->huge_size);
	unit = 4 * d->page_size;
	d->size = (d->size + unit - 1) / unit * unit;
	if (geteuid()) {
		error(0, 0, "only root can load lkm5: sudo %s",
		      program_invocation_name);
		return -1;
	}
	if (check_memory(d) || open_modules(d))
		return -1;
	if (d->csv_path) {
		d->csv = fopen(d->csv_path, "we");
		if (!d->csv) {
			error(0, errno, "cannot write %s", d->csv_path);
			return -1;
		}
	}
	return rehearse(d);
}

int main(int argc, char **argv)
{
	static struct demo d = {
		.size = 64 * MIB,
		.steps = ARRAY_SIZE(steps),
		.lkm4 = { .name = "lkm4", .file = -1 },
		.lkm5 = { .name = "lkm5", .file = -1 },
	};
	int failed;

	parse_arguments(&d, argc, argv);
	catch_signals();
	failed = start(&d) || run_steps(&d);
	end_child(&d);
	if (!failed)
		failed = draw_chart(&d);
	if (d.csv && write_csv(&d))
		failed = -1;
	if (interrupted) {
		error(0, 0, "interrupted; no module stays loaded");
		signal(interrupted, SIG_DFL);
		raise(interrupted);
	}
	return failed || d.counts[FAILED] ? EXIT_FAILURE : EXIT_SUCCESS;
}
