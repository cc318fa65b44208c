// SPDX-License-Identifier: GPL-2.0-only
/* pagemap, with any arguments, and anything in the files that it reads */
#include "files.h"

/* So few that a small input has more. */
#define BATCH		4

static ssize_t read_entries(int fd, void *buf, size_t size, off_t at);
static ssize_t read_value(int fd, void *buf, size_t size);
static ssize_t write_line(int fd, const void *text, size_t size);

#define dprintf(fd, ...)	(fuzz_close(fd), snprintf(NULL, 0, __VA_ARGS__))
#define flock(fd, how)		(fuzz_close(fd), 0)
#define usleep(time)		((void)(time))
#undef pread
#define pread			read_entries
#define read			read_value
#define write			write_line

#include "../../pagemap.c"

static const char *const fuzz_paths[FUZZ_FILES] = {
	"/proc/*/maps", "=/proc/*/pagemap", "=/proc/kpageflags", "=/proc/kpagecount",
	LKM4, PARAMETERS "*",
};

#define PAGEMAP_FD	(FUZZ_FD + 1)

static struct run run;
static bool differs;

/* No sanitizer sees what runs over from one array of a struct into the next. */
static void check_room(const void *buf, size_t size)
{
	const uint64_t *const arrays[] = {
		run.batch.entries, run.batch.flags, run.batch.mapcounts, run.batch.later,
	};
	const uint64_t *words = buf;

	for (size_t i = 0; i < ARRAY_SIZE(arrays); i++)
		if (words >= arrays[i] && words < arrays[i] + BATCH &&
		    words + size / sizeof(*words) > arrays[i] + BATCH)
			abort();
}

/* A page of the stack is our own: that one is always there. */
static ssize_t read_entries(int fd, void *buf, size_t size, off_t at)
{
	const uint64_t here = PM_PRESENT | 1;

	check_room(buf, size);
	if (fd != PAGEMAP_FD || at < (off_t)1 << 35 || size != sizeof(here))
		return fuzz_pread(fd, buf, size, at);
	memcpy(buf, &here, sizeof(here));
	return sizeof(here);
}

static ssize_t read_value(int fd, void *buf, size_t size)
{
	return fuzz_read(fuzz_file(fd), buf, size);
}

/* What is printed is ours, whatever was read. */
static ssize_t write_line(int fd, const void *text, size_t size)
{
	const char *each = text;

	(void)fd;
	for (size_t i = 0; i < size; i++)
		if (each[i] != '\n' && (each[i] < ' ' || each[i] > '~'))
			abort();
	differs |= memmem(text, size, "DIFFER", 6) || memmem(text, size, "differ", 6);
	return (ssize_t)size;
}

static int run_pagemap(int argc, char **argv)
{
	struct request request = parse_arguments(argc, argv);

	memset(run.pages, 0, sizeof(run.pages));
	memset(run.checked, 0, sizeof(run.checked));
	run.frames = (struct frames){ };
	return answer(&run, &request) ? EXIT_FAILURE : EXIT_SUCCESS;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	stdout = (fopen)("/dev/null", "w");
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int status;

	output.used = 0;
	output.failed = false;
	differs = false;
	fuzz_begin(data, size);
	status = fuzz_call(run_pagemap);
	fuzz_end(status, status == EXIT_USAGE || differs);
	return 0;
}
