/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * files.h - a helper whose command line and files are what a fuzzer makes up
 *
 *	fuzz_begin()	cut an input into them
 *	fuzz_call()	call what may end the program; its status
 *	fuzz_end()	abort when it failed in silence, or succeeded with a complaint
 *
 * An input is text, cut by lines of two dots: the arguments, then the files, in
 * the order of the target's fuzz_paths; those behind the end are missing. Of a
 * path that begins with `=` the text is 64-bit words, in hexadecimal.
 *
 * A target includes this, and then its helper, all of whose doings with files and
 * with its own end come here.
 */
#ifndef LKM_FUZZ_FILES_H
#define LKM_FUZZ_FILES_H

#define _GNU_SOURCE 1
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <getopt.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FUZZ_ARGS	16
#define FUZZ_FILES	6
#define FUZZ_FD		1000	/* that of the first file */
#define FUZZ_CUT	"..\n"

struct fuzz_file {
	char *data;		/* NULL: there is no such file */
	size_t size;
	size_t at;
};

static const char *const fuzz_paths[FUZZ_FILES];	/* the target's */

static struct fuzz_file fuzz_files[FUZZ_FILES];
static char *fuzz_argv[FUZZ_ARGS + 1], *fuzz_arguments;
static int fuzz_argc, fuzz_messages;
static jmp_buf fuzz_ended;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- an input --------------------------------------------------------- */

/* The words that a text has; it is freed. */
static void make_words(struct fuzz_file *file)
{
	uint64_t *words = calloc(file->size / 2 + 2, sizeof(*words));
	char *rest = file->data, *end;
	size_t n = 0;

	for (;; rest = end) {
		words[n] = strtoull(rest, &end, 16);
		if (end == rest)
			break;
		n++;
	}
	free(file->data);
	*file = (struct fuzz_file){ (char *)words, n * sizeof(*words), 0 };
}

static void make_arguments(char *text)
{
	char *word = strtok(text, " \n");

	fuzz_argv[0] = program_invocation_name;
	for (fuzz_argc = 1; word && fuzz_argc < FUZZ_ARGS; word = strtok(NULL, " \n"))
		fuzz_argv[fuzz_argc++] = word;
	fuzz_argv[fuzz_argc] = NULL;
}

/* A copy of what comes before the next cut, and a NUL. */
static char *next_part(const uint8_t **data, size_t *left, size_t *size)
{
	const uint8_t *cut = memmem(*data, *left, FUZZ_CUT, strlen(FUZZ_CUT));
	size_t used = cut ? (size_t)(cut - *data) + strlen(FUZZ_CUT) : *left;
	char *part;

	*size = cut ? (size_t)(cut - *data) : *left;
	part = calloc(1, *size + 1);
	memcpy(part, *data, *size);
	*data += used;
	*left -= used;
	return part;
}

static void fuzz_begin(const uint8_t *data, size_t left)
{
	size_t size;

	fuzz_arguments = next_part(&data, &left, &size);
	make_arguments(fuzz_arguments);
	for (int i = 0; i < FUZZ_FILES && left; i++) {
		fuzz_files[i].data = next_part(&data, &left, &fuzz_files[i].size);
		if (fuzz_paths[i] && *fuzz_paths[i] == '=')
			make_words(&fuzz_files[i]);
	}
	optind = 0;
	opterr = 0;
	fuzz_messages = 0;
}

static int fuzz_call(int (*what)(int argc, char **argv))
{
	int status = setjmp(fuzz_ended);

	return status ? status - 1 : what(fuzz_argc, fuzz_argv);
}

/* @may_be_silent: the status has a cause that is no error */
static void fuzz_end(int status, bool may_be_silent)
{
	if (!status != !fuzz_messages && !(may_be_silent && !fuzz_messages))
		abort();
	for (int i = 0; i < FUZZ_FILES; i++)
		free(fuzz_files[i].data);
	memset(fuzz_files, 0, sizeof(fuzz_files));
	free(fuzz_arguments);
}

/* ---- what the helper calls -------------------------------------------- */

static struct fuzz_file *fuzz_file(int fd)
{
	if (fd < FUZZ_FD || fd >= FUZZ_FD + FUZZ_FILES)
		abort();
	return &fuzz_files[fd - FUZZ_FD];
}

static int fuzz_open(const char *path, int flags)
{
	(void)flags;
	for (int i = 0; i < FUZZ_FILES; i++) {
		const char *pattern = fuzz_paths[i] ?: "";

		if (fnmatch(pattern + (*pattern == '='), path, 0) ||
		    !fuzz_files[i].data)
			continue;
		fuzz_files[i].at = 0;
		return FUZZ_FD + i;
	}
	errno = ENOENT;
	return -1;
}

static ssize_t fuzz_pread(int fd, void *buf, size_t size, off_t at)
{
	const struct fuzz_file *file = fuzz_file(fd);

	if (at < 0) {
		errno = EINVAL;
		return -1;
	}
	if ((size_t)at >= file->size)
		return 0;
	if (size > file->size - at)
		size = file->size - at;
	memcpy(buf, file->data + at, size);
	return (ssize_t)size;
}

static ssize_t fuzz_read(void *cookie, char *buf, size_t size)
{
	struct fuzz_file *file = cookie;
	ssize_t n = fuzz_pread((int)(file - fuzz_files) + FUZZ_FD, buf, size,
			       (off_t)file->at);

	file->at += n;
	return n;
}

/* What is opened for writing goes nowhere. */
static FILE *fuzz_fopen(const char *path, const char *mode)
{
	int fd;

	if (*mode != 'r')
		return fopen("/dev/null", mode);
	fd = fuzz_open(path, 0);
	return fd < 0 ? NULL :
			fopencookie(fuzz_file(fd), mode,
				    (cookie_io_functions_t){ .read = fuzz_read });
}

static int fuzz_sigaction(int number, const struct sigaction *action,
			  struct sigaction *old)
{
	(void)number;
	(void)action;
	if (old)
		memset(old, 0, sizeof(*old));
	return 0;
}

static void fuzz_close(int fd)
{
	fuzz_file(fd);
}

static _Noreturn void fuzz_exit(int status)
{
	longjmp(fuzz_ended, status + 1);
}

/* A message is formatted, and is one line. */
static __attribute__((format(printf, 3, 4)))
void fuzz_error(int status, int number, const char *format, ...)
{
	char text[1024];
	va_list args;

	(void)number;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fuzz_messages++;
	if (status)
		fuzz_exit(status);
}

#define main		helper_main
#define open		fuzz_open
#define pread		fuzz_pread
#define fopen		fuzz_fopen
#define close		fuzz_close
#define exit		fuzz_exit
#define error		fuzz_error
#define sigaction(...)	fuzz_sigaction(__VA_ARGS__)
#undef stderr
#define stderr		stdout

#endif /* LKM_FUZZ_FILES_H */
