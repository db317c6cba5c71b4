/** The part of a reproducer that is the same in all: checks, fault-safe copies, runs. Only what a trace needs is written. */
import { errnoName } from '../../kernel/errno.ts';

export type Helper = 'words' | 'fields' | 'copy' | 'fill' | 'compare' | 'run' | 'threads';

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

const WORDS = `
/** \`count\` words of 64 bits, each \`step\` more than the one before. */
static void words(unsigned char *at, uint64_t value, uint64_t step, size_t count)
{
	for (; count > 0; count--, at += 8, value += step)
		memcpy(at, &value, 8);
}
`;

const FIELDS = `
struct field {
	const char *name;
	size_t offset, size;
};

/** What a request wrote into its struct, field by field. */
static void fields(const char *prefix, const struct field *list, size_t count, const void *want, const void *value)
{
	char name[96];

	for (size_t i = 0; i < count; i++) {
		const unsigned char *a = (const unsigned char *)want + list[i].offset;
		const unsigned char *b = (const unsigned char *)value + list[i].offset;
		uint64_t x = 0, y = 0;

		if (memcmp(a, b, list[i].size) == 0)
			continue;
		snprintf(name, sizeof name, "%s%s", prefix, list[i].name);
		if (list[i].size > 8) {
			bytes(name, a, b, list[i].size);
			continue;
		}
		memcpy(&x, a, list[i].size);
		memcpy(&y, b, list[i].size);
		word(name, x, y);
	}
}
`;

const COPY = `
/** A page that cannot be reached ends an access, not the program. */
static struct {
	sigjmp_buf back;
	volatile sig_atomic_t armed;
	int signal, code;
	const char *address;
} fault;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (!fault.armed) {
		struct sigaction usual = { .sa_handler = SIG_DFL };

		sigaction(signal, &usual, NULL);
		return;
	}
	fault.signal = signal;
	fault.code = info->si_code;
	siglongjmp(fault.back, 1);
}

static void catch_faults(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
}

/** Does \`step\` page by page from \`at\` on; returns the bytes before the first page that cannot be reached, or before \`step\` stops. */
static long long safely(char *at, size_t length, size_t (*step)(char *at, size_t length, size_t done))
{
	static volatile size_t done;

	fault.signal = fault.code = 0;
	fault.address = NULL;
	done = 0;
	if (sigsetjmp(fault.back, 1) != 0) {
		fault.address = at + done;
	} else {
		fault.armed = 1;
		while (done < length) {
			size_t room = 4096 - ((uintptr_t)at + done) % 4096;
			size_t part = length - done < room ? length - done : room;
			size_t did = step(at + done, part, done);

			done += did;
			if (did < part)
				break;
		}
	}
	fault.armed = 0;
	return (long long)done;
}

static unsigned char *buffer_now;

static inline size_t out_step(char *at, size_t length, size_t done)
{
	for (size_t i = 0; i < length; i++)
		buffer_now[done + i] = ((volatile unsigned char *)at)[i];
	return length;
}

static inline size_t in_step(char *at, size_t length, size_t done)
{
	for (size_t i = 0; i < length; i++)
		((volatile unsigned char *)at)[i] = buffer_now[done + i];
	return length;
}

static inline long long copy_out(char *at, void *into, size_t length)
{
	buffer_now = into;
	return safely(at, length, out_step);
}

static inline long long copy_in(char *at, const void *from, size_t length)
{
	buffer_now = (unsigned char *)(uintptr_t)from;
	return safely(at, length, in_step);
}

/** The access ended at \`address\` with this signal, or without one. */
static inline void faulted(int signal, int code, const char *address)
{
	if (signal)
		strncat(expected, signal == SIGBUS ? ", then SIGBUS" : ", then SIGSEGV", sizeof expected - strlen(expected) - 1);
	if (fault.signal)
		strncat(got, fault.signal == SIGBUS ? ", then SIGBUS" : ", then SIGSEGV", sizeof got - strlen(got) - 1);
	word("signal", (unsigned)signal, (unsigned)fault.signal);
	if (signal == 0 || fault.signal == 0)
		return;
	word("si_code", (unsigned)code, (unsigned)fault.code);
	word("address", (uintptr_t)address, (uintptr_t)fault.address);
}
`;

const FILL = `
static unsigned char byte_now;

static size_t fill_step(char *at, size_t length, size_t done)
{
	(void)done;
	for (size_t i = 0; i < length; i++)
		((volatile unsigned char *)at)[i] = byte_now;
	return length;
}

static long long fill(char *at, size_t length, unsigned char byte)
{
	byte_now = byte;
	return safely(at, length, fill_step);
}
`;

const COMPARE = `
static size_t compare_step(char *at, size_t length, size_t done)
{
	size_t i;

	for (i = 0; i < length && ((volatile unsigned char *)at)[i] == buffer_now[done + i]; i++)
		;
	return i;
}

/** Index of the first byte that differs, or the length. */
static long long compare(char *at, const void *with, size_t length)
{
	buffer_now = (unsigned char *)(uintptr_t)with;
	return safely(at, length, compare_step);
}
`;

const RUN = `
#define KVM_RUN 0xae80 // _IO(0xae, 0x80)
#define IMMEDIATE_EXIT 1 // offset in struct kvm_run

struct vcpu {
	int fd;
	volatile unsigned char *page;
	int kicked;
	long long result;
	// Of a run that another thread makes.
	int running;
	pthread_t thread;
};

static volatile unsigned char *volatile page_now;

static void on_limit(int signal)
{
	(void)signal;
	if (page_now)
		page_now[IMMEDIATE_EXIT] = 1;
}

static long long enter(struct vcpu *vcpu)
{
	long long answer = vcpu->page ? sys(ioctl(vcpu->fd, KVM_RUN, 0)) : -EBADF;

	if (answer == -EINTR && vcpu->page) {
		vcpu->kicked = 0;
		vcpu->page[IMMEDIATE_EXIT] = 0;
	}
	return answer;
}

/** KVM_RUN, interrupted after so many milliseconds. */
static inline long long run(struct vcpu *vcpu, unsigned ms)
{
	struct sigaction action = { .sa_handler = on_limit };
	struct itimerval limit = { .it_value = { ms / 1000, (ms % 1000) * 1000 } }, none = { 0 };

	// No SA_RESTART: KVM_RUN must come back.
	sigaction(SIGALRM, &action, NULL);
	page_now = vcpu->page;
	setitimer(ITIMER_REAL, &limit, NULL);
	vcpu->result = enter(vcpu);
	setitimer(ITIMER_REAL, &none, NULL);
	page_now = NULL;
	return vcpu->result;
}

/** A field of struct kvm_run, at most 8 bytes. */
static inline void exit_is(const struct vcpu *vcpu, const char *field, size_t offset, size_t size, uint64_t want)
{
	uint64_t value = 0;

	if (vcpu->page)
		memcpy(&value, (const void *)(vcpu->page + offset), size);
	word(field, want, value);
}

static inline void exit_bytes(const struct vcpu *vcpu, const char *field, size_t offset, size_t size, const void *want)
{
	if (vcpu->page)
		bytes(field, want, (const void *)(vcpu->page + offset), size);
}

/** Makes the run under way, or else the next one, return EINTR. */
static inline void kick(struct vcpu *vcpu)
{
	vcpu->kicked = 1;
	if (vcpu->page)
		vcpu->page[IMMEDIATE_EXIT] = 1;
	if (vcpu->running)
		pthread_kill(vcpu->thread, SIGUSR1);
}
`;

const THREADS = `
static void on_kick(int signal)
{
	(void)signal;
}

static void *run_thread(void *argument)
{
	struct vcpu *vcpu = argument;

	vcpu->result = enter(vcpu);
	return NULL;
}

/** Begins a KVM_RUN on a thread of its own. */
static inline void start(struct vcpu *vcpu)
{
	struct sigaction action = { .sa_handler = on_kick };

	sigaction(SIGUSR1, &action, NULL);
	vcpu->result = -EAGAIN;
	vcpu->running = pthread_create(&vcpu->thread, NULL, run_thread, vcpu) == 0;
}

/** Waits for it, and kicks it after so many milliseconds. */
static inline long long finish(struct vcpu *vcpu, unsigned ms)
{
	struct timespec until;

	if (!vcpu->running)
		return vcpu->result;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000 + 1;
	while (pthread_timedjoin_np(vcpu->thread, NULL, &until) != 0) {
		kick(vcpu);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 1000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
	}
	vcpu->running = 0;
	return vcpu->result;
}
`;

const TEXT: Readonly<Record<Helper, string>> = {
  words: WORDS,
  fields: FIELDS,
  copy: COPY,
  fill: FILL,
  compare: COMPARE,
  run: RUN,
  threads: THREADS,
};

const ORDER: readonly Helper[] = ['words', 'fields', 'copy', 'fill', 'compare', 'run', 'threads'];

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
