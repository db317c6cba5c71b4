// System calls without a C library, for the first process of a test kernel. Only the compiler is needed: no headers of
// libc or of the kernel. Numbers and structures are the kernel's stable ones for 64-bit x86 and arm64.
#ifndef PRIVMEM_TESTVM_SYS_H
#define PRIVMEM_TESTVM_SYS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
enum {
  NR_read = 0,
  NR_write = 1,
  NR_open_legacy = 2,
  NR_close = 3,
  NR_ioctl = 16,
  NR_getpid = 39,
  NR_socket = 41,
  NR_execve = 59,
  NR_exit = 60,
  NR_wait4 = 61,
  NR_uname = 63,
  NR_chdir = 80,
  NR_setsid = 112,
  NR_chroot = 161,
  NR_mount = 165,
  NR_reboot = 169,
  NR_sethostname = 170,
  NR_clone = 56,
  NR_openat = 257,
  NR_mkdirat = 258,
  NR_unlinkat = 263,
  NR_symlinkat = 266,
  NR_faccessat = 269,
  NR_ppoll = 271,
  NR_dup3 = 292,
  NR_pipe2 = 293,
  NR_prlimit64 = 302,
  NR_rt_sigaction = 13,
  NR_nanosleep = 35,
  NR_pidfd_open = 434
};

static inline long sys6(long n, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

__asm__(
    ".globl _start\n"
    "_start:\n"
    "  xor %ebp, %ebp\n"
    "  and $-16, %rsp\n"
    "  call start\n"
    "  hlt\n");
#elif defined(__aarch64__)
enum {
  NR_ioctl = 29,
  NR_mkdirat = 34,
  NR_unlinkat = 35,
  NR_symlinkat = 36,
  NR_mount = 40,
  NR_faccessat = 48,
  NR_chdir = 49,
  NR_chroot = 51,
  NR_openat = 56,
  NR_close = 57,
  NR_pipe2 = 59,
  NR_read = 63,
  NR_write = 64,
  NR_ppoll = 73,
  NR_exit = 93,
  NR_nanosleep = 101,
  NR_rt_sigaction = 134,
  NR_reboot = 142,
  NR_setsid = 157,
  NR_uname = 160,
  NR_sethostname = 161,
  NR_getpid = 172,
  NR_socket = 198,
  NR_clone = 220,
  NR_execve = 221,
  NR_wait4 = 260,
  NR_prlimit64 = 261,
  NR_dup3 = 24,
  NR_pidfd_open = 434
};

static inline long sys6(long n, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = n;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}

__asm__(
    ".globl _start\n"
    "_start:\n"
    "  mov x29, #0\n"
    "  bl start\n"
    "  brk #0\n");
#else
#error "test kernels are x86-64 or arm64"
#endif

#define SYS(name, ...) SYS_PICK(__VA_ARGS__, 6, 5, 4, 3, 2, 1)(NR_##name, __VA_ARGS__)
#define SYS_PICK(a, b, c, d, e, f, n, ...) SYS_##n
#define L(x) ((long)(x))
#define SYS_1(n, a) sys6(n, L(a), 0, 0, 0, 0, 0)
#define SYS_2(n, a, b) sys6(n, L(a), L(b), 0, 0, 0, 0)
#define SYS_3(n, a, b, c) sys6(n, L(a), L(b), L(c), 0, 0, 0)
#define SYS_4(n, a, b, c, d) sys6(n, L(a), L(b), L(c), L(d), 0, 0)
#define SYS_5(n, a, b, c, d, e) sys6(n, L(a), L(b), L(c), L(d), L(e), 0)
#define SYS_6(n, a, b, c, d, e, f) sys6(n, L(a), L(b), L(c), L(d), L(e), L(f))

enum {
  E_NOENT = 2,
  E_INTR = 4,
  E_AGAIN = 11,
  E_ACCES = 13,
  E_EXIST = 17,
  E_NODEV = 19,
  AT_FDCWD_ = -100,
  O_RDONLY_ = 0,
  O_WRONLY_ = 1,
  O_RDWR_ = 2,
  O_NONBLOCK_ = 04000,
  O_CLOEXEC_ = 02000000,
  MS_RDONLY_ = 1,
  MS_NOSUID_ = 2,
  MS_NODEV_ = 4,
  MS_NOEXEC_ = 8,
  MS_MOVE_ = 8192,
  POLLIN_ = 1,
  POLLOUT_ = 4,
  POLLERR_ = 8,
  POLLHUP_ = 16,
  SIGCHLD_ = 17,
  SIGPIPE_ = 13,
  WNOHANG_ = 1,
  RLIMIT_NOFILE_ = 7,
  RLIMIT_MEMLOCK_ = 8
};

struct pollfd_ {
  int fd;
  short events;
  short revents;
};

struct timespec_ {
  int64_t sec;
  int64_t nsec;
};

// The compiler may call these for copies and clearing of its own.
void* memcpy(void* to, const void* from, size_t size) {
  char* t = to;
  const char* f = from;
  while (size-- > 0) *t++ = *f++;
  return to;
}

void* memset(void* at, int value, size_t size) {
  char* p = at;
  while (size-- > 0) *p++ = (char)value;
  return at;
}

static inline size_t length(const char* text) {
  size_t n = 0;
  while (text[n] != '\0') n++;
  return n;
}

static inline int starts(const char* text, const char* prefix) {
  while (*prefix != '\0')
    if (*text++ != *prefix++) return 0;
  return 1;
}

static inline void sleep_ms(long ms) {
  struct timespec_ t = {ms / 1000, ms % 1000 * 1000000};
  SYS(nanosleep, &t, 0);
}

// Writes all of it; false when that cannot be done.
static inline int write_all(int fd, const char* bytes, size_t size) {
  while (size > 0) {
    const long done = SYS(write, fd, bytes, size);
    if (done == -E_INTR || done == -E_AGAIN) {
      if (done == -E_AGAIN) sleep_ms(1);
      continue;
    }
    if (done <= 0) return 0;
    bytes += done;
    size -= (size_t)done;
  }
  return 1;
}

// A line of text, built piece by piece; what does not fit is cut.
struct line {
  char text[1024];
  size_t size;
};

static inline void put(struct line* line, const char* text) {
  while (*text != '\0' && line->size + 1 < sizeof line->text) line->text[line->size++] = *text++;
  line->text[line->size] = '\0';
}

static inline void put_number(struct line* line, long value) {
  char digits[24];
  size_t at = sizeof digits - 1;
  unsigned long rest = value < 0 ? -(unsigned long)value : (unsigned long)value;
  digits[at] = '\0';
  do digits[--at] = (char)('0' + rest % 10);
  while ((rest /= 10) != 0);
  if (value < 0) digits[--at] = '-';
  put(line, digits + at);
}

#endif
