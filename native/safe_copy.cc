#include "safe_copy.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstring>
#include <mutex>

namespace privmem {

namespace {

constexpr size_t kPage = 4096;
constexpr int kSiKernel = 128;
// BUS_MCEERR_AR and _AO, by number for C libraries that do not name them: memory is lost.
constexpr int kLostNow = 4, kLostLater = 5;
constexpr size_t kCompareBlock = 64 * 1024;

struct Guard {
  sigjmp_buf landing;
  Fault* fault;
};

// Initial-exec: the handler must not be the first to touch a lazily allocated thread-local. Other C libraries refuse
// that model in what is loaded at run time; there the first copy of a thread has touched it before any fault that
// matters.
#if defined(__GLIBC__)
#define PRIVMEM_TLS __attribute__((tls_model("initial-exec")))
#else
#define PRIVMEM_TLS
#endif
PRIVMEM_TLS thread_local Guard* volatile armed = nullptr;
PRIVMEM_TLS thread_local int chaining = 0;

// Who handled the signal before us: the one we replaced last, and the very first, which ends a circle of
// handlers that call each other.
struct Previous {
  struct sigaction last;
  struct sigaction first;
  bool known = false;
};
Previous previous_bus, previous_segv;
std::mutex install_mutex;
std::atomic<int64_t> generation{1};

Previous& PreviousOf(int signal) { return signal == SIGBUS ? previous_bus : previous_segv; }

void PassOn(const struct sigaction& action, int signal, siginfo_t* info, void* context) {
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    action.sa_sigaction(signal, info, context);
  } else if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) {
    action.sa_handler(signal);
  } else if (action.sa_handler == SIG_IGN && info->si_code <= 0) {
    return;
  } else {
    // Back to the default: a fault repeats when we return and ends the process as it would have without us; a
    // signal that somebody sent does not repeat, so it is sent again.
    struct sigaction fallback;
    std::memset(&fallback, 0, sizeof fallback);
    fallback.sa_handler = SIG_DFL;
    sigaction(signal, &fallback, nullptr);
    if (info->si_code <= 0) raise(signal);
    // News of lost memory that nobody was about to touch does not repeat either, and must not leave us without
    // handlers.
    if (signal == SIGBUS && (info->si_code == kLostNow || info->si_code == kLostLater)) {
      generation.fetch_add(1, std::memory_order_release);
    }
  }
}

void OnFault(int signal, siginfo_t* info, void* context) {
  Guard* guard = armed;
  // Only what the kernel raised for an access of this thread; a signal that was sent is somebody else's.
  if (guard != nullptr && info->si_code > 0) {
    guard->fault->signal = signal;
    guard->fault->code = info->si_code;
    guard->fault->address = reinterpret_cast<uintptr_t>(info->si_addr);
    armed = nullptr;
    siglongjmp(guard->landing, 1);
  }
  const Previous& previous = PreviousOf(signal);
  const bool circle = chaining > 0;
  chaining++;
  PassOn(circle ? previous.first : previous.last, signal, info, context);
  chaining--;
}

void EnsureInstalled() {
  std::lock_guard<std::mutex> lock(install_mutex);
  for (const int signal : {SIGBUS, SIGSEGV}) {
    struct sigaction current;
    sigaction(signal, nullptr, &current);
    if ((current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == OnFault) continue;
    Previous& previous = PreviousOf(signal);
    if (!previous.known) previous.first = current;
    previous.last = current;
    previous.known = true;
    struct sigaction ours;
    std::memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = OnFault;
    // No deferral, so that the jump out of the handler need not restore the mask.
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigemptyset(&ours.sa_mask);
    sigaction(signal, &ours, nullptr);
  }
}

// Runs `access` and says whether it came to its end.
template <typename Access>
__attribute__((noinline)) bool Guarded(Fault* fault, Access access) {
  Guard guard;
  guard.fault = fault;
  if (sigsetjmp(guard.landing, 0) != 0) return false;
  armed = &guard;
  __asm__ volatile("" ::: "memory");
  access();
  __asm__ volatile("" ::: "memory");
  armed = nullptr;
  return true;
}

// `step(offset, length)` does a part. First all at once, at full speed; if that faults, again page by page of
// the suspect side, since a page is reached whole or not at all: that gives the exact number of bytes done.
template <typename Step>
size_t Run(uintptr_t suspect, size_t length, Fault* fault, Step step) {
  if (length == 0) return 0;
  if (Guarded(fault, [&] { step(0, length); })) return length;
  *fault = Fault();
  volatile size_t done = 0;
  while (done < length) {
    const size_t at = done;
    const size_t to_boundary = kPage - ((suspect + at) & (kPage - 1));
    const size_t part = to_boundary < length - at ? to_boundary : length - at;
    if (!Guarded(fault, [&] { step(at, part); })) {
      // Byte by byte: the fault may lie on the other side, whose pages end elsewhere.
      volatile size_t byte = at;
      while (byte < at + part && Guarded(fault, [&] { step(byte, 1); })) byte = byte + 1;
      if (byte < at + part) {
        // Non-canonical addresses come without an address.
        if (fault->code == kSiKernel) fault->address = suspect + byte;
        return byte;
      }
      *fault = Fault();
    }
    done = at + part;
  }
  // The page came back meanwhile (another thread, or the guest, shared it).
  *fault = Fault();
  return length;
}

}  // namespace

void WatchHandlers(int64_t* seen) {
  const int64_t now = generation.load(std::memory_order_acquire);
  if (*seen == now) return;
  EnsureInstalled();
  *seen = now;
}

void ForgetHandlers() { generation.fetch_add(1, std::memory_order_release); }

size_t SafeRead(uint8_t* into, uintptr_t from, size_t length, Fault* fault) {
  return Run(from, length, fault,
             [=](size_t at, size_t n) { std::memcpy(into + at, reinterpret_cast<const uint8_t*>(from) + at, n); });
}

size_t SafeWrite(uintptr_t into, const uint8_t* from, size_t length, Fault* fault) {
  return Run(into, length, fault,
             [=](size_t at, size_t n) { std::memcpy(reinterpret_cast<uint8_t*>(into) + at, from + at, n); });
}

size_t SafeFill(uintptr_t at_address, uint8_t byte, size_t length, Fault* fault) {
  return Run(at_address, length, fault,
             [=](size_t at, size_t n) { std::memset(reinterpret_cast<uint8_t*>(at_address) + at, byte, n); });
}

size_t SafeCompare(uintptr_t at_address, const uint8_t* expected, size_t length, Fault* fault) {
  volatile size_t differs = length;
  const size_t done = Run(at_address, length, fault, [&](size_t at, size_t n) {
    const uint8_t* actual = reinterpret_cast<const uint8_t*>(at_address);
    for (size_t from = at; from < at + n && differs == length; from += kCompareBlock) {
      const size_t block = at + n - from < kCompareBlock ? at + n - from : kCompareBlock;
      if (std::memcmp(actual + from, expected + from, block) == 0) continue;
      size_t i = 0;
      while (i < block && actual[from + i] == expected[from + i]) i++;
      if (i < block) differs = from + i;
    }
  });
  if (differs >= done) return done;
  // A difference before the fault settles the question.
  *fault = Fault();
  return differs;
}

}  // namespace privmem
