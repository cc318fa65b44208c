// SPDX-License-Identifier: GPL-2.0-only
/*
 * lazy_allocation, with any arguments, and anything in the log and the files that
 * it reads: three measurements and the chart of them, but no step is done.
 *
 * The log is cut into reports by empty lines; a line `!` is one that was lost.
 */
#include "files.h"

static ssize_t read_record(int fd, void *buf, size_t size);

#define getpid()		4242
#define geteuid()		0
#define syscall(...)		0
#define lseek(...)		0
#define prctl(...)		0
#define memfd_create(...)	(-1)	/* so nothing is unpacked */
#define mlockall(...)		0
#define sigprocmask(how, set, old)	((void)(set), (void)(old))
#define read			read_record

#include "../../lazy_allocation.c"

static const char *const fuzz_paths[FUZZ_FILES] = {
	"/dev/kmsg", "/proc/*/smaps_rollup", "/proc/meminfo",
	"/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "*.ko*",
};

static ssize_t read_record(int fd, void *buf, size_t size)
{
	struct fuzz_file *file = fuzz_file(fd);
	const char *record = file->data + file->at;
	size_t length = strcspn(record, "\n");

	file->at += length + (record[length] == '\n');
	errno = *record == '!' ? EPIPE : EAGAIN;
	if (!length || *record == '!' || file->at > file->size)
		return -1;
	length = length < size ? length : size;
	memcpy(buf, record, length);
	return (ssize_t)length;
}

static struct demo demo;

static int run_demo(int argc, char **argv)
{
	const struct expectation none = { };

	parse_arguments(&demo, argc, argv);
	if (start(&demo))
		return EXIT_FAILURE;
	demo.pages = (char *)&demo;
	for (int i = 0; i < 3; i++)
		if (add_row(&demo, steps[i].name, getpid(), &none))
			return EXIT_FAILURE;
	if (draw_chart(&demo) || (demo.csv && write_csv(&demo)))
		return EXIT_FAILURE;
	demo.csv = NULL;	/* it is closed */
	return demo.counts[FAILED] ? EXIT_FAILURE : EXIT_SUCCESS;
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

	demo = (struct demo){
		.size = 64 * MIB,
		.steps = ARRAY_SIZE(steps),
		.lkm4 = { .name = "lkm4", .file = -1 },
		.lkm5 = { .name = "lkm5", .path = "lkm5.ko", .file = -1 },
	};
	fuzz_begin(data, size);
	status = fuzz_call(run_demo);
	free((char *)demo.lkm4.path);
	if (demo.csv)
		fclose(demo.csv);
	fuzz_end(status, status == EXIT_USAGE);
	return 0;
}
