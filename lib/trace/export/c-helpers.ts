/** Text of the helpers in C, memory and structs: see c-prelude.ts for which of them a program gets. */

export const PATH = `
/** The path that opens the file of a descriptor again. */
static const char *path_of(int fd)
{
	static char path[32];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return path;
}
`;

export const WORDS = `
/** \`count\` words of 64 bits, each \`step\` more than the one before. */
static void words(unsigned char *at, uint64_t value, uint64_t step, size_t count)
{
	for (; count > 0; count--, at += 8, value += step)
		memcpy(at, &value, 8);
}
`;

export const FIELDS = `
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

export const COPY = `
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

export const FILL = `
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

export const COMPARE = `
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
