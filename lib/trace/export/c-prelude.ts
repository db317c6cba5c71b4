/** The part of a reproducer that is the same in all: checks, fault-safe copies, runs. Only what a trace needs is written. */
import { errnoName } from '../../kernel/errno.ts';
import { COMPARE, COPY, FIELDS, FILL, PATH, WORDS } from './c-helpers.ts';
import { RUN, THREADS } from './c-helpers-run.ts';

export type Helper = 'path' | 'words' | 'fields' | 'copy' | 'fill' | 'compare' | 'run' | 'threads';

const NEEDS: Readonly<Partial<Record<Helper, readonly Helper[]>>> = {
  fill: ['copy'],
  compare: ['copy'],
  threads: ['run'],
};

const ERRNOS = Array.from({ length: 134 }, (_, number) => number).filter((number) => /^E[A-Z]/.test(errnoName(number)));

function errnoTable(): string {
  const lines: string[] = [];
  for (let at = 0; at < ERRNOS.length; at += 6) {
    lines.push(
      `\t${ERRNOS.slice(at, at + 6)
        .map((number) => `[${number}] = "${errnoName(number)}"`)
        .join(', ')},`,
    );
  }
  return lines.join('\n');
}

const BASE = `
static int calls, differing;
static int number;
static const char *what;
static char expected[64], got[64], more[1024];

/** Negated errno, as the system call itself answers. */
static inline long long sys(long long result)
{
	return result < 0 ? -errno : result;
}

static const char *const errno_names[] = {
${errnoTable()}
};

enum kind { A_NUMBER, A_DESCRIPTOR, AN_ADDRESS };

static void show(char *into, size_t size, enum kind kind, long long value)
{
	size_t error = value < 0 ? (size_t)-value : 0;

	if (value < 0 && error < sizeof errno_names / sizeof errno_names[0] && errno_names[error])
		snprintf(into, size, "%s", errno_names[error]);
	else if (value < 0)
		snprintf(into, size, "errno %zu", error);
	else if (kind == A_NUMBER)
		snprintf(into, size, value < 4096 ? "%lld" : "0x%llx", value);
	else
		snprintf(into, size, kind == A_DESCRIPTOR ? "a descriptor" : "an address");
}

static void begin(int n, const char *call)
{
	number = n;
	what = call;
	expected[0] = got[0] = more[0] = 0;
}

/** Whether the rest of what the call answered can be compared. */
static int result(enum kind kind, long long want, long long value)
{
	show(expected, sizeof expected, kind, want);
	show(got, sizeof got, kind, value);
	if (kind == A_NUMBER ? want == value : (want < 0 ? want == value : value >= 0))
		return 1;
	snprintf(more, sizeof more, " ");
	return (want < 0 ? want : 0) == (value < 0 ? value : 0);
}

static inline void differs(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline void differs(const char *format, ...)
{
	size_t used = strlen(more);
	va_list args;

	va_start(args, format);
	vsnprintf(more + used, sizeof more - used, format, args);
	va_end(args);
}

static inline void word(const char *field, unsigned long long want, unsigned long long value)
{
	if (want != value)
		differs("; %s: expected 0x%llx, got 0x%llx", field, want, value);
}

static inline void bytes(const char *field, const void *want, const void *value, size_t length)
{
	const unsigned char *a = want, *b = value;
	size_t i;

	for (i = 0; i < length && a[i] == b[i]; i++)
		;
	if (i < length)
		differs("; %s at byte 0x%zx: expected %02x, got %02x", field, i, a[i], b[i]);
}

static void end(void)
{
	calls++;
	differing += more[0] != 0;
	printf("%s %4d  %s: expected %s, got %s%s\\n", more[0] ? "DIFF" : "ok  ", number, what, expected, got, more);
}
`;

const TEXT: Readonly<Record<Helper, string>> = {
  path: PATH,
  words: WORDS,
  fields: FIELDS,
  copy: COPY,
  fill: FILL,
  compare: COMPARE,
  run: RUN,
  threads: THREADS,
};

const ORDER: readonly Helper[] = ['path', 'words', 'fields', 'copy', 'fill', 'compare', 'run', 'threads'];

export const INCLUDES = `#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
`;

/** The helpers that `used` names, and those behind them. */
export function prelude(used: ReadonlySet<Helper>): string {
  const all = new Set(used);
  for (const helper of [...ORDER].reverse()) if (all.has(helper)) for (const need of NEEDS[helper] ?? []) all.add(need);
  return (
    BASE +
    ORDER.filter((helper) => all.has(helper))
      .map((helper) => TEXT[helper])
      .join('')
  );
}

export const catchesFaults = (used: ReadonlySet<Helper>): boolean =>
  ['copy', 'fill', 'compare'].some((helper) => used.has(helper as Helper));
