#include "vcpu.h"

#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "functions.h"
#include "registry.h"
#include "safe_copy.h"

namespace privmem {

namespace {

constexpr unsigned long kKvmRun = 0xAE80;
constexpr size_t kImmediateExit = 1;  // offset in struct kvm_run

pid_t ThreadId() {
  static thread_local pid_t id = static_cast<pid_t>(syscall(SYS_gettid));
  return id;
}

// A thread stays what it is, so the two system calls are made once in each.
bool OnWorker() {
  static thread_local const bool worker = ThreadId() != getpid();
  return worker;
}

// A limit for a run on the caller's thread. The handler of the kick signal sets immediate_exit itself, so
// that a timer that fires just before KVM_RUN is entered is not lost.
struct Limit {
  uint8_t* page;
  volatile sig_atomic_t fired;
};

void OnKick(int, siginfo_t* info, void*) {
  if (info->si_code != SI_TIMER) return;
  Limit* limit = static_cast<Limit*>(info->si_value.sival_ptr);
  limit->fired = 1;
  SetImmediateExit(limit->page, 1);
}

class Timer {
 public:
  // Nothing is armed, and nothing costs anything, when `timeout_ms` is 0.
  Timer(uint8_t* page, int timeout_ms) : limit_{page, 0} {
    if (timeout_ms <= 0) return;
    // The kernel's own struct: C libraries disagree on how the thread id is spelled.
    struct {
      void* value;
      int signal;
      int notify;
      int thread;
      char rest[44];
    } event;
    static_assert(sizeof event == 64, "struct sigevent has 64 bytes");
    std::memset(&event, 0, sizeof event);
    event.value = &limit_;
    event.signal = KickSignal();
    event.notify = 4;  // SIGEV_THREAD_ID
    event.thread = ThreadId();
    const struct itimerspec when = {{0, 0}, {timeout_ms / 1000, (timeout_ms % 1000) * 1000000L}};
    made_ = syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id_) == 0;
    if (!made_ || syscall(SYS_timer_settime, id_, 0, &when, nullptr) != 0) error_ = -errno;
  }

  ~Timer() { Stop(); }

  // Negated errno when the limit could not be set.
  int error() const { return error_; }

  // True when the limit was reached.
  bool Stop() {
    if (made_) syscall(SYS_timer_delete, id_);
    made_ = false;
    return limit_.fired != 0;
  }

 private:
  Limit limit_;
  int id_ = 0;
  int error_ = 0;
  bool made_ = false;
};

}  // namespace

void SetImmediateExit(uint8_t* run_page, uint8_t value) {
  __atomic_store_n(run_page + kImmediateExit, value, __ATOMIC_SEQ_CST);
}

int KickSignal() {
  static const int chosen = [] {
    // Not the first few: C libraries and profilers take those. Never one that somebody handles already.
    for (int signal = SIGRTMIN + 8; signal <= SIGRTMAX; signal++) {
      struct sigaction current;
      if (sigaction(signal, nullptr, &current) != 0) continue;
      if ((current.sa_flags & SA_SIGINFO) != 0 || current.sa_handler != SIG_DFL) continue;
      struct sigaction action;
      std::memset(&action, 0, sizeof action);
      action.sa_sigaction = OnKick;
      action.sa_flags = SA_SIGINFO;  // no SA_RESTART: KVM_RUN must come back
      sigemptyset(&action.sa_mask);
      if (sigaction(signal, &action, nullptr) == 0) return signal;
    }
    return 0;
  }();
  return chosen;
}

Vcpu::Vcpu(EnvState* state, int fd, uint8_t* page) : state_(state), fd_(fd), page_(page) {
  Registry::Get().Pin(reinterpret_cast<uintptr_t>(page));
}

int Vcpu::Enter() { return ioctl(fd_, kKvmRun, 0UL) < 0 ? -errno : 0; }

void Vcpu::Leave(int result) {
  running_ = false;
  runner_ = 0;
  if (result == -EINTR && kicked_) {
    kicked_ = false;
    SetImmediateExit(page_, 0);
  }
}

namespace {

// A worker that is being terminated learns of it when JavaScript runs next, which a guest that never exits
// would put off for ever.
bool MayGoOn(napi_env env) {
  napi_value script, ignored;
  return napi_create_string_utf8(env, "0", 1, &script) == napi_ok && napi_run_script(env, script, &ignored) == napi_ok;
}

constexpr int kWorkerSliceMs = 100;

}  // namespace

int Vcpu::RunSlice(int slice_ms, bool* limit_reached) {
  Timer timer(page_, slice_ms);
  if (timer.error() != 0) return timer.error();
  const int result = Enter();
  *limit_reached = timer.Stop();
  if (*limit_reached) {
    std::lock_guard<std::mutex> lock(mutex_);
    // A kick counts for this run, whatever the timer did.
    if (kicked_ && result == -EINTR) *limit_reached = false;
    if (!kicked_) SetImmediateExit(page_, 0);
  }
  return result;
}

int Vcpu::Run(napi_env env, int timeout_ms) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (running_) return -EBUSY;
    running_ = true;
    runner_ = ThreadId();
  }
  const bool worker = OnWorker();
  int result;
  for (int left = timeout_ms;; left -= kWorkerSliceMs) {
    const bool sliced = worker && (timeout_ms <= 0 || left > kWorkerSliceMs);
    bool limit_reached = false;
    result = RunSlice(sliced ? kWorkerSliceMs : left, &limit_reached);
    if (!sliced || !limit_reached || result != -EINTR || !MayGoOn(env)) break;
  }
  std::lock_guard<std::mutex> lock(mutex_);
  Leave(result);
  return result;
}

void Vcpu::Signal() {
  if (runner_ != 0) syscall(SYS_tgkill, getpid(), runner_, KickSignal());
}

int Vcpu::Kick() {
  std::lock_guard<std::mutex> lock(mutex_);
  kicked_ = true;
  SetImmediateExit(page_, 1);
  Signal();
  return 0;
}

napi_value VcpuAttach(napi_env env, napi_callback_info) {
  EnvState* state = EnvState::Of(env);
  Frame* frame = state->frame();
  const int fd = static_cast<int>(frame->args[0]);
  const uintptr_t page = static_cast<uintptr_t>(frame->args[1]);
  Range range;
  Registry& registry = Registry::Get();
  std::lock_guard<std::recursive_mutex> lock(registry.mutex());
  if (page % PageSize() != 0 || !PageRange(page, 1, &range) || !registry.Covers(range)) {
    ThrowRange(env, "runPage must be the start of memory that privmem mapped");
    return nullptr;
  }
  // Pages of another environment go when that one ends.
  if (registry.OwnerOf(range) != state) return Answer(frame, -EBUSY);
  if (registry.IsRegular(page)) {
    ThrowRange(env, "runPage must be mapped from the vCPU: a file's page could be truncated away under a kick");
    return nullptr;
  }
  if (registry.HasPinned(range)) return Answer(frame, -EBUSY);
  uint8_t old;
  Fault fault;
  WatchHandlers(&frame->handlers_seen);
  if (SafeRead(&old, page + kImmediateExit, 1, &fault) != 1 || SafeWrite(page + kImmediateExit, &old, 1, &fault) != 1) {
    return Answer(frame, -EFAULT);
  }
  if (KickSignal() == 0) return Answer(frame, -EAGAIN);
  return Answer(frame, state->AddVcpu(std::make_unique<Vcpu>(state, fd, reinterpret_cast<uint8_t*>(page))));
}

namespace {

// `use` gets the vCPU whose handle is in the frame, and says what to answer.
template <typename Use>
napi_value WithVcpu(napi_env env, Use use) {
  EnvState* state = EnvState::Of(env);
  Vcpu* vcpu = state->FindVcpu(state->frame()->args[0]);
  return Answer(state->frame(), vcpu == nullptr ? -EBADF : use(vcpu));
}

}  // namespace

napi_value VcpuRun(napi_env env, napi_callback_info) {
  const int timeout_ms = static_cast<int>(EnvState::Of(env)->frame()->args[1]);
  return WithVcpu(env, [=](Vcpu* vcpu) { return vcpu->Run(env, timeout_ms); });
}

napi_value VcpuStart(napi_env env, napi_callback_info info) {
  const Values<1> values(env, info);
  napi_valuetype type;
  if (napi_typeof(env, values[0], &type) != napi_ok || type != napi_function) {
    ThrowType(env, "done must be a function");
    return nullptr;
  }
  return WithVcpu(env, [&](Vcpu* vcpu) { return vcpu->Start(env, values[0]); });
}

napi_value VcpuKick(napi_env env, napi_callback_info) {
  return WithVcpu(env, [](Vcpu* vcpu) { return vcpu->Kick(); });
}

napi_value VcpuDetach(napi_env env, napi_callback_info) {
  EnvState* state = EnvState::Of(env);
  return Answer(state->frame(), state->TakeVcpu(state->frame()->args[0]) == nullptr ? -EBADF : 0);
}

}  // namespace privmem
