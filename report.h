/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * report.h - what all five modules need and none is about
 *
 *	struct param	a module parameter: text until a report is asked for
 *	struct report	what a module must say to have its report made
 *	report_line()	one line, to the kernel log or to /proc/lkmN
 *	line_begin()	the same of a row that there are ten thousands of
 *	find_task()	a pid's task, with a reference
 *	find_mm()	a process's address space, with a reference
 *	process_pid()	the other way round, for lists
 *	look_at_mm()	the same under a lock in place of the reference
 *	copy_counts()	its memory counters
 *	copy_rows()	a snapshot of as many rows as there happen to be
 *	report_load()	a module's init: the report to the log, and /proc/lkmN
 *	report_unload()	a module's exit
 *
 * A report goes one way only:
 *
 *	ask()      parameters -> struct facts         copied under their lock
 *	collect()  references, lock, copy numbers, unlock, drop references
 *	print()    struct facts -> lines              under no lock at all
 *
 * It is cut into rows. A snapshot has all its facts after collect(), and next()
 * only tells where the rows end; a stream makes the facts of each row in
 * next(). print() writes the lines of one row. Readers of /proc/lkmN decide how
 * often that happens: seq_file takes a few rows at once. It may ask for the first of
 * them again (at the start of each read), or for row 0 to begin anew (after a seek),
 * but never leaves one out; for those behind the first only where together they were
 * longer than ROWS_AT_ONCE lines of ROW_LEN, as no rows of a stream may be. Behind the
 * end, or an error, it asks for a later one, and the answer must be the same.
 *
 * A module defines its own struct facts and one `report`, sets pr_fmt, and
 * includes this file first.
 */
#ifndef LKM_REPORT_H
#define LKM_REPORT_H

#include <linux/capability.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "compat.h"
#include "line.h"

#ifndef CONFIG_64BIT
#error "The reports are written for 64-bit kernels."
#endif

struct facts;

/**
 * struct out - where the lines of a report go
 * @seq: the reader of /proc/lkmN, or NULL for the kernel log
 * @row: room for a line of ROW_LEN bytes
 * @begun: where the line that line_begin() began is
 * @lines: lines written so far
 * @bytes: room they take in the kernel log
 */
struct out {
	struct seq_file *seq;
	char *row;
	char *begun;
	unsigned long lines;
	unsigned long bytes;
};

/**
 * struct report - what makes a module's report
 * @facts_size: sizeof(struct facts)
 * @ask: reads the parameters, under kernel_param_lock() no longer than it takes
 *       to copy them, into zeroed facts; 0, or an errno once it has said in one
 *       pr_err() what was asked, what is wrong and what would be right
 * @collect: fills in the facts; errors as with @ask, but silent for -ENOMEM
 *           and -EINTR
 * @next: 1 when there is a row of that number, counted from 0; 0 when not; or
 *        an errno, as @collect: the report ends there, and is not whole. A reader
 *        asks again for a row that failed, or a later one: then it fails again, in
 *        silence
 * @print: writes that row
 * @drop: frees what the facts point to, also after a failed @ask or @collect;
 *        may be NULL
 * @loaded: the closing line
 * @removed: the farewell
 */
struct report {
	size_t facts_size;
	int (*ask)(struct facts *facts);
	int (*collect)(struct facts *facts);
	int (*next)(struct facts *facts, loff_t row);
	void (*print)(struct out *out, const struct facts *facts, loff_t row);
	void (*drop)(struct facts *facts);
	const char *loaded;
	const char *removed;
};

static const struct report report;	/* the module's own, defined at its end */

/* ---- parameters ------------------------------------------------------- */

/**
 * struct param - a module parameter
 * @text: as it was written; empty when unset
 *
 * Kept as text, whatever it is: a number that is none gets the same one clear
 * line and the same errno from insmod and from /proc/lkmN, while the module
 * loader would print what it refuses as it stands, newlines and all. Protected
 * by the module's kernel_param_lock().
 */
struct param {
	char text[32];
};

static int param_set_text(const char *val, const struct kernel_param *kp)
{
	struct param *param = kp->arg;
	const char *text = val ?: "";
	size_t len = strlen(text);

	/* A write to the file in /sys ends with a newline. */
	if (len && text[len - 1] == '\n')
		len--;
	if (len < sizeof(param->text)) {
		memcpy(param->text, text, len);
		param->text[len] = '\0';
	} else {
		/* Too long for any number; cut, it must not become one. */
		memcpy(param->text, text, sizeof(param->text) - 4);
		strscpy(param->text + sizeof(param->text) - 4, "...", 4);
	}
	return 0;
}

static int param_get_text(char *buffer, const struct kernel_param *kp)
{
	const struct param *param = kp->arg;

	return scnprintf(buffer, PAGE_SIZE, "%s\n", param->text);
}

static const struct kernel_param_ops param_text_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,
	.set = param_set_text,
	.get = param_get_text,
};

/* PARAM - a parameter of the module, for root to change between two reports */
#define PARAM(name, description)					\
	static struct param name##_param;				\
	module_param_cb(name, &param_text_ops, &name##_param, 0600);	\
	__MODULE_PARM_TYPE(name, "number");				\
	MODULE_PARM_DESC(name, description)

PARAM(log, "1: write the report to the kernel log on insmod; 0: only make it when /proc/"
      KBUILD_MODNAME " is read (0 or 1, default 1)");

/* Kbuild passes it on. */
MODULE_VERSION(LKM_VERSION);

/**
 * param_number() - the value of a parameter
 * @param: a copy of the parameter
 * @name: what it is called
 * @unset: its value when it is not set
 * @max: the largest value it may have; the smallest is 0
 * @value: where the value goes
 *
 * Decimal, or hexadecimal behind 0x.
 *
 * Return: 0, or -EINVAL after saying what is wrong.
 */
static inline int param_number(const struct param *param, const char *name, u64 unset,
			       u64 max, u64 *value)
{
	const char *text = param->text;
	int base = strncasecmp(text, "0x", 2) ? 10 : 16;
	char safe[4 * sizeof(param->text)];

	*value = unset;
	if (!*text)
		return 0;
	if (!kstrtou64(text, base, value) && *value <= max)
		return 0;
	pr_err("%s=%s: not a number from 0 to %llu; write it in decimal, or in hexadecimal as 0x7f00\n",
	       name, safe_string(safe, sizeof(safe), text), max);
	return -EINVAL;
}

static inline int param_flag(const struct param *param, const char *name, bool unset,
			     bool *value)
{
	u64 number;
	int err = param_number(param, name, unset, 1, &number);

	*value = number;
	return err;
}

/**
 * param_pid() - the pid= of a module
 * @param: a copy of the parameter
 * @unset: its value when it is not set; 0 when it must be given
 * @pid: where the pid goes, as it is in the pid namespace of the caller
 *
 * Return: 0, or -EINVAL after saying what is wrong.
 */
static inline int param_pid(const struct param *param, pid_t unset, pid_t *pid)
{
	const char *text = param->text;
	char safe[4 * sizeof(param->text)];

	*pid = unset;
	if (!*text && unset)
		return 0;
	if (!*text) {
		pr_err("no pid= given: give the pid of a process, pid=1 for example\n");
		return -EINVAL;
	}
	if (!kstrtoint(text, 10, pid) && *pid > 0)
		return 0;
	pr_err("pid=%s: not a pid; give a decimal number above 0, as ps -e lists them\n",
	       safe_string(safe, sizeof(safe), text));
	return -EINVAL;
}

/* ---- lines ------------------------------------------------------------ */

/*
 * What a line takes in the printk ring buffer: its text, with the level, prefix
 * and newline that are only taken off once it is there; an id, and padding. And
 * since there is one descriptor for each 32 bytes of text (PRB_AVGBITS), a
 * shorter line costs as much.
 */
static unsigned long log_room(unsigned long len)
{
	len += sizeof(KERN_INFO KBUILD_MODNAME ": \n") + sizeof(unsigned long);
	return max(ALIGN(len, sizeof(unsigned long)), 32UL);
}

/**
 * report_line() - write one line of the report
 * @out: where to
 * @fmt: printf format, without a newline
 */
static __printf(2, 3) void report_line(struct out *out, const char *fmt, ...)
{
	struct va_format line = { .fmt = fmt };
	va_list args, again;

	va_start(args, fmt);
	if (out->seq) {
		seq_vprintf(out->seq, fmt, args);
		seq_putc(out->seq, '\n');
	} else {
		va_copy(again, args);
		out->lines++;
		out->bytes += log_room(vsnprintf(NULL, 0, fmt, again));
		va_end(again);
		line.va = &args;
		pr_info("%pV\n", &line);
	}
	va_end(args);
}

/* Bytes that a line may have that line_begin() begins, its newline included. */
#define ROW_LEN 320
static_assert(ROW_LEN >= SAFE_NAME_LEN + 200);

/**
 * line_begin() - begin a line that is put together by hand
 * @out: where it goes
 *
 * Return: where to put up to ROW_LEN - 1 bytes: the reader's buffer itself, if it
 * has room for them. line_end() is to follow.
 */
static inline char *line_begin(struct out *out)
{
	out->begun = out->row;
	if (out->seq && seq_get_buf(out->seq, &out->begun) < ROW_LEN)
		out->begun = out->row;
	return out->begun;
}

/* line_end() - end it; @end is behind its last byte */
static inline void line_end(struct out *out, char *end)
{
	size_t len = end - out->begun;

	if (!out->seq) {
		*end = '\0';
		out->lines++;
		out->bytes += log_room(len);
		pr_info("%s\n", out->begun);
		return;
	}
	*end = '\n';
	if (out->begun == out->row)
		seq_write(out->seq, out->begun, len + 1);
	else
		seq_commit(out->seq, len + 1);
}

/* put_process() - how lines about a process begin */
static inline char *put_process(char *to, pid_t pid, const char *comm)
{
	to = put_decimal(put_text(to, "PID: "), pid);
	return put_name(put_text(to, " | PROCESS: "), comm);
}

/* print_process() - the line that names the process a report is about */
static inline void print_process(struct out *out, pid_t pid, const char *comm)
{
	line_end(out, put_process(line_begin(out), pid, comm));
}

/* ---- tasks and their memory ------------------------------------------- */

/*
 * copy_name() - copy a task's name, without its lock: a rename that happens
 * meanwhile can mix two names, but the last byte is always NUL.
 */
static inline void copy_name(char *comm, const struct task_struct *task)
{
	memcpy(comm, task->comm, TASK_COMM_LEN);
	comm[TASK_COMM_LEN - 1] = '\0';
}

/*
 * process_pid() - the pid of a task's process in a namespace; 0: it has none there.
 * Under RCU, which task_tgid_nr_ns() would take again for each of thousands.
 */
static inline pid_t process_pid(struct task_struct *task, struct pid_namespace *ns)
{
	return pid_nr_ns(task_tgid(task), ns);
}

/* task_state() - a task's state, running and exiting in one number */
static inline unsigned int task_state(const struct task_struct *task)
{
	return task_run_state(task) | READ_ONCE(task->exit_state);
}

/* state_letter() - the letter that ps shows for that number */
static inline char state_letter(unsigned int state)
{
	return task_index_to_char(__task_state_index(state, 0));
}

/**
 * task_of() - the task that a pid names
 * @pid: a pid or tid in the pid namespace of the caller
 *
 * Return: the task, to be given back by put_task_struct(); NULL: there is none.
 */
static inline struct task_struct *task_of(pid_t pid)
{
	struct pid *ref = find_get_pid(pid);
	struct task_struct *task = get_pid_task(ref, PIDTYPE_PID);

	put_pid(ref);
	return task;
}

/**
 * find_task() - the same, of a pid that was asked for
 * @pid: the pid
 *
 * Return: the task, or ERR_PTR(-ESRCH) after saying that there is none.
 */
static inline struct task_struct *find_task(pid_t pid)
{
	struct task_struct *task = task_of(pid);

	if (task)
		return task;
	pr_err("pid=%d: no such process; give the pid of one that ps -e lists\n",
	       pid);
	return ERR_PTR(-ESRCH);
}

/**
 * get_process_mm() - the address space of a task's process
 * @task: any task of it
 *
 * A process whose first thread has ended lives on in the others, so the mm is
 * taken from whichever thread still has it.
 *
 * Return: the mm, to be given back by mmput(), never under RCU or a lock: the last
 * one sleeps; NULL: it has none.
 */
static inline struct mm_struct *get_process_mm(struct task_struct *task)
{
	struct mm_struct *mm = NULL;
	struct task_struct *thread;

	rcu_read_lock();
	for_each_thread(task, thread) {
		mm = get_task_mm(thread);
		if (mm)
			break;
	}
	rcu_read_unlock();
	return mm;
}

/**
 * find_mm() - the same, of a process that was asked for
 * @task: any task of it
 * @pid: the pid it was asked for by
 *
 * Return: the mm, or ERR_PTR(-EINVAL) after saying that there is none.
 */
static inline struct mm_struct *find_mm(struct task_struct *task, pid_t pid)
{
	struct mm_struct *mm = get_process_mm(task);
	char comm[TASK_COMM_LEN], name[SAFE_NAME_LEN];

	if (mm)
		return mm;
	copy_name(comm, task);
	pr_err("pid=%d: %s has no user memory; give the pid of a process that is neither a kernel thread nor a zombie\n",
	       pid, safe_name(name, comm));
	return ERR_PTR(-EINVAL);
}

/**
 * look_at_mm() - look at the address space of a process under task_lock()
 * @process: the process, held by a reference or under RCU
 * @look: what looks, at @mm and for @to; @user is the thread that is locked: for
 *        as long it cannot let go of its mm, which needs no reference then, nor an
 *        mmput(), which may sleep
 * @to: where @look puts what it sees
 *
 * Return: whether there was one: not of a kernel thread, which may borrow the mm
 * of a process, nor of a zombie.
 */
static inline bool look_at_mm(struct task_struct *process,
			      void (*look)(void *to, struct mm_struct *mm,
					   struct task_struct *user),
			      void *to)
{
	struct task_struct *thread;
	struct mm_struct *mm;

	if (process->flags & PF_KTHREAD)
		return false;
	/* The first thread may have ended before the others. */
	for_each_thread(process, thread) {
		task_lock(thread);
		mm = thread->mm;
		if (mm)
			look(to, mm, thread);
		task_unlock(thread);
		if (mm)
			return true;
	}
	return false;
}

/**
 * struct counts - the memory counters of an address space
 * @n: by MM_*: pages, and for MM_SWAPENTS swap entries
 * @sharing: the address space, where threads of other processes count there, too,
 *           and have not been asked yet; only to be compared
 */
struct counts {
	long n[NR_MM_COUNTERS];
	const struct mm_struct *sharing;
};

/* copy_counts() - copy them; the parameters are those of mm_counters() */
static inline void copy_counts(struct counts *counts, struct mm_struct *mm,
			       struct task_struct *task, int refs)
{
	counts->sharing = mm_counters(mm, task, refs, counts->n) ? NULL : mm;
}

/*
 * settle_counts() - make them whole; may ask all tasks, so not under a lock. Unrolled,
 * so that there is no index which a kernel may want to be checked.
 */
static inline void settle_counts(struct counts *counts)
{
	int i;

	if (counts->sharing)
		mm_counters_of_sharers(counts->sharing, counts->n);
#pragma GCC unroll 4
	for (i = 0; i < NR_MM_COUNTERS; i++)
		counts->n[i] = max(counts->n[i], 0L);
}

/* counted_rss() - the pages of them that are in memory */
static inline unsigned long counted_rss(const struct counts *counts)
{
	return counts->n[MM_ANONPAGES] + counts->n[MM_FILEPAGES] +
	       counts->n[MM_SHMEMPAGES];
}

static inline unsigned long pages_to_kb(unsigned long pages)
{
	return pages << (PAGE_SHIFT - 10);
}

/* ---- memory ----------------------------------------------------------- */

/* Without memory there is our one line; the kernel would add a page of its own. */
#define GFP_REPORT (GFP_KERNEL | __GFP_NOWARN)

/* ---- rows of a snapshot ----------------------------------------------- */

/**
 * copy_rows() - take a snapshot of unknown length
 * @facts: the report's
 * @copy: copies rows under the lock it takes, no more than the first @room of
 *        them, and returns how many there are, or may be: what is beyond @room is
 *        only counted
 * @size: bytes a row
 * @n: where the number of rows goes
 *
 * Nothing can be allocated under RCU, so there is room for as many as there are pids
 * in the namespace of the caller, of which each thread has one, and a few. If more have
 * come since, all is copied again.
 *
 * Return: the rows, for kvfree(); NULL: no memory.
 */
static inline void *copy_rows(struct facts *facts,
			      size_t (*copy)(struct facts *facts, void *rows,
					     size_t room),
			      size_t size, size_t *n)
{
	const struct pid_namespace *ns = task_active_pid_ns(current);
	size_t room = (READ_ONCE(ns->pid_allocated) & ~PIDNS_ADDING) + 16;
	void *rows;

	for (;;) {
		rows = kvmalloc_array(room, size, GFP_REPORT);
		if (!rows)
			return NULL;
		*n = copy(facts, rows, room);
		if (*n <= room)
			return rows;
		kvfree(rows);
		room = *n + *n / 8;
	}
}

/* ---- making a report -------------------------------------------------- */

static void report_drop(struct facts *facts)
{
	if (report.drop)
		report.drop(facts);
	kfree(facts);
}

static struct facts *report_make(void)
{
	struct facts *facts = kzalloc(report.facts_size, GFP_REPORT);
	int err = -ENOMEM;

	if (!facts)
		goto fail;
	err = report.ask(facts);
	if (!err)
		err = report.collect(facts);
	if (!err)
		return facts;
	report_drop(facts);
fail:
	if (err == -ENOMEM)
		pr_err("no memory for the report; free some and try again\n");
	if (err == -EINTR)
		pr_err("interrupted before the report was made; try again\n");
	return ERR_PTR(err);
}

/* What seq_file takes for a row is as many of ours: a row costs it more than us. */
#define ROWS_AT_ONCE 8

static void *report_start(struct seq_file *seq, loff_t *rows)
{
	int next = report.next(seq->private, *rows * ROWS_AT_ONCE);

	if (next < 0)
		return ERR_PTR(next);
	return next ? rows : NULL;
}

static void *report_next(struct seq_file *seq, void *v, loff_t *rows)
{
	++*rows;
	return report_start(seq, rows);
}

static void report_stop(struct seq_file *seq, void *v)
{
}

/*
 * A report that turns out to be long is read by the 64 kB, a short one has the page
 * that seq_file takes by itself.
 */
#define FEW_ROWS 32
#define READ_LEN SZ_64K

/*
 * Where rows find no room, seq_file gives what it has to the reader and comes again,
 * or takes twice as much room.
 */
static int report_show(struct seq_file *seq, void *v)
{
	loff_t row = *(loff_t *)v * ROWS_AT_ONCE, end = row + ROWS_AT_ONCE;
	char text[ROW_LEN];
	struct out out = { .seq = seq, .row = text };

	if (seq->size - seq->count < ROWS_AT_ONCE * ROW_LEN ||
	    (row >= FEW_ROWS && seq->size < READ_LEN)) {
		seq_commit(seq, -1);
		return 0;
	}
	do {
		report.print(&out, seq->private, row++);
	} while (row < end && report.next(seq->private, row) > 0);
	return 0;
}

static const struct seq_operations report_seq_ops = {
	.start = report_start,
	.next = report_next,
	.stop = report_stop,
	.show = report_show,
};

/*
 * The mode alone would let in the root of a container: as a user he may be the
 * same root. So what is asked is whether he has its rights in the whole machine.
 *
 * Who cannot read gets no report, but a file that flock() can be had on before
 * the parameters are right. Nor can he seek, for which seq_file would be needed.
 */
static int report_open(struct inode *inode, struct file *file)
{
	struct seq_file *seq;
	struct facts *facts;
	int err;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (!(file->f_mode & FMODE_READ))
		return nonseekable_open(inode, file);
	facts = report_make();
	if (IS_ERR(facts))
		return PTR_ERR(facts);
	err = seq_open(file, &report_seq_ops);
	if (err) {
		report_drop(facts);
		return err;
	}
	seq = file->private_data;
	seq->private = facts;
	return 0;
}

static int report_release(struct inode *inode, struct file *file)
{
	struct seq_file *seq = file->private_data;

	if (!seq)
		return 0;
	report_drop(seq->private);
	return seq_release(inode, file);
}

static const struct proc_ops report_proc_ops = {
	.proc_open = report_open,
	.proc_read_iter = seq_read_iter,
	.proc_lseek = seq_lseek,
	.proc_release = report_release,
};

static int report_to_log(struct facts *facts)
{
	char text[ROW_LEN];
	struct out out = { .row = text };
	loff_t row;
	int more;

	for (row = 0; (more = report.next(facts, row)) > 0; row++) {
		report.print(&out, facts, row);
		cond_resched();
	}
	if (more == -EINTR)
		pr_err("interrupted before the report was whole; try again\n");
	if (more)
		return more;
	/* A floor: log_buf_len= or many CPUs make it larger, and tell nobody. */
	if (out.bytes > 1UL << CONFIG_LOG_BUF_SHIFT)
		pr_info("LINES = %lu, more than the kernel log keeps: read /proc/"
			KBUILD_MODNAME "\n", out.lines);
	return 0;
}

/**
 * report_load() - what a module's init does
 *
 * Return: 0, or an errno after one line that says why; nothing is left behind
 * but, of a stream, the lines before that one.
 */
static int report_load(void)
{
	struct facts *facts = NULL;
	struct param log;
	bool to_log;
	int err;

	kernel_param_lock(THIS_MODULE);
	log = log_param;
	kernel_param_unlock(THIS_MODULE);
	err = param_flag(&log, "log", true, &to_log);
	if (err)
		return err;
	if (to_log) {
		facts = report_make();
		if (IS_ERR(facts))
			return PTR_ERR(facts);
	}
	if (!proc_create(KBUILD_MODNAME, 0400, NULL, &report_proc_ops)) {
		pr_err("/proc/" KBUILD_MODNAME " cannot be made: no memory, or the name is taken\n");
		err = -ENOMEM;
		goto drop_facts;
	}
	pr_info("Hello, Welcome to LKM\n");
	if (facts)
		err = report_to_log(facts);
	if (err)
		remove_proc_entry(KBUILD_MODNAME, NULL);
	else
		pr_info("%s\n", report.loaded);
drop_facts:
	if (facts)
		report_drop(facts);
	return err;
}

/* report_unload() - what a module's exit does; readers have let go after it */
static void report_unload(void)
{
	remove_proc_entry(KBUILD_MODNAME, NULL);
	pr_info("%s\n", report.removed);
}

#endif /* LKM_REPORT_H */
