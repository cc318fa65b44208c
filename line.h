/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * line.h - text, number by number and name by name
 *
 *	safe_string()	a string that cannot forge a line
 *	safe_name()	the same of a process's name
 *	put_text()	text,
 *	put_bytes()	so many bytes of it,
 *	put_char()	a character,
 *	put_decimal()	a number,
 *	put_int()	one that may be negative,
 *	put_hex()	a number in hexadecimal,
 *	put_name()	a process's name, made safe
 *
 * Most lines are printf's. Those that a report may have ten thousands of, or that are
 * asked for as often, are put together here: printf would take more time for one of
 * them than all else does. Each put_*() writes at @to, no NUL behind it, and returns
 * where the next one goes on; who calls has the room (report.h: ROW_LEN).
 */
#ifndef LKM_LINE_H
#define LKM_LINE_H

#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/string_helpers.h>
#include <linux/swab.h>

/* ---- strings that somebody else chose --------------------------------- */

/* Room for a name of which every byte had to be escaped. */
#define SAFE_NAME_LEN (4 * TASK_COMM_LEN)

/**
 * safe_string() - a string made safe to print
 * @buf: where it goes
 * @size: room in @buf: 4 bytes for each of @string and one more always suffice
 * @string: what somebody else chose
 *
 * A newline could forge a line and an escape sequence repaint a terminal, so
 * control bytes and the backslash are written as in C. All other bytes pass,
 * and UTF-8 names read as names.
 *
 * Return: @buf.
 */
static inline const char *safe_string(char *buf, size_t size, const char *string)
{
	static const char unsafe[] =
		"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
		"\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f\\";
	int len = string_escape_mem(string, strlen(string), buf, size - 1,
				    ESCAPE_SPACE | ESCAPE_SPECIAL | ESCAPE_OCTAL,
				    unsafe);

	buf[min_t(size_t, len, size - 1)] = '\0';
	return buf;
}

/* safe_name() - a task's name made safe; @buf has room for SAFE_NAME_LEN */
static inline const char *safe_name(char *buf, const char *comm)
{
	return safe_string(buf, SAFE_NAME_LEN, comm);
}

/* ---- lines put together by hand --------------------------------------- */

/* Always inline: of a literal the compiler then knows the length. */
static __always_inline char *put_bytes(char *to, const char *bytes, size_t n)
{
	memcpy(to, bytes, n);
	return to + n;
}

static __always_inline char *put_text(char *to, const char *text)
{
	return put_bytes(to, text, strlen(text));
}

static inline char *put_char(char *to, char c)
{
	*to = c;
	return to + 1;
}

/* decimal_digits() - how many a number has: a bit is worth some 1233/4096 of a digit */
static inline unsigned int decimal_digits(u64 number)
{
	static const u64 least[] = {
		0, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000,
		1000000000, 10000000000, 100000000000, 1000000000000,
		10000000000000, 100000000000000, 1000000000000000,
		10000000000000000, 100000000000000000, 1000000000000000000,
		10000000000000000000U
	};
	unsigned int n = fls64(number) * 1233U >> 12;

	/* A pointer, not an index, which a kernel may want to be checked each time. */
	return n + (number >= *(least + n));
}

/* Of two digits at least. */
static inline char *put_digits(char *to, u64 number)
{
	static const char pairs[] =
		"00010203040506070809101112131415161718192021222324"
		"25262728293031323334353637383940414243444546474849"
		"50515253545556575859606162636465666768697071727374"
		"75767778798081828384858687888990919293949596979899";
	char *end = to + decimal_digits(number), *at = end;
	u64 rest;

	for (; number >= 100; number = rest) {
		rest = number / 100;
		at -= 2;
		memcpy(at, pairs + 2 * (number - 100 * rest), 2);
	}
	if (number >= 10)
		memcpy(to, pairs + 2 * number, 2);
	else
		*to = '0' + number;
	return end;
}

/* put_decimal() - 20 bytes at most */
static inline char *put_decimal(char *to, u64 number)
{
	return number < 10 ? put_char(to, '0' + number) : put_digits(to, number);
}

/* put_int() - 11 bytes at most */
static inline char *put_int(char *to, int number)
{
	if (number < 0)
		return put_decimal(put_char(to, '-'), -(s64)number);
	return put_decimal(to, number);
}

/* put_hex() - 16 bytes at most; so many are always written */
static inline char *put_hex(char *to, u64 number)
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
	unsigned int n = (fls64(number | 1) + 3U) / 4, i;

	/* The first two digits come first, and what is behind the last is no matter. */
	number = swab64(number << ((64 - 4 * n) & 63));
#pragma GCC unroll 8
	for (i = 0; i < 8; i++, number >>= 8)
		memcpy(to + 2 * i, &pairs[2 * (u8)number], 2);
	return to + n;
}

/* Out of line, for newer kernels clear @safe, and few names need it. */
static noinline char *put_safe_name(char *to, const char *comm)
{
	char safe[SAFE_NAME_LEN];

	return put_text(to, safe_name(safe, comm));
}

/* put_name() - SAFE_NAME_LEN bytes at most */
static inline char *put_name(char *to, const char *comm)
{
	static const bool is_plain[256] = {
		[' ' ... '\\' - 1] = true, ['\\' + 1 ... '\x7e'] = true, [0x80 ... 0xff] = true
	};
	const char *from = comm;
	char *at = to;

	while (is_plain[(u8)*from])
		*at++ = *from++;
	return *from ? put_safe_name(to, comm) : at;
}

#endif /* LKM_LINE_H */
