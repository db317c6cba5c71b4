// The thread of a vCPU, and how the end of its runs reaches JavaScript.
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "registry.h"
#include "vcpu.h"

namespace privmem {

namespace {

struct Completion {
  EnvState* state;
  napi_ref done;
  int result;
};

}  // namespace

Vcpu::~Vcpu() {
  if (has_thread_) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      quit_ = true;
      wake_.notify_all();
      // Again and again: a guest that has just been entered may have missed one.
      while (running_) {
        kicked_ = true;
        SetImmediateExit(page_, 1);
        Signal();
        wake_.wait_for(lock, std::chrono::milliseconds(1));
      }
    }
    pthread_join(thread_, nullptr);
  }
  Registry& registry = Registry::Get();
  std::lock_guard<std::recursive_mutex> lock(registry.mutex());
  registry.Unpin(reinterpret_cast<uintptr_t>(page_));
}

int Vcpu::Start(napi_env env, napi_value done) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (running_) return -EBUSY;
  if (!has_thread_) {
    // Every signal but the kick stays with the threads that expect it.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int made = pthread_create(&thread_, nullptr, ThreadMain, this);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (made != 0) return -made;
    has_thread_ = true;
  }
  if (napi_create_reference(env, done, 1, &done_) != napi_ok) return -ENOMEM;
  running_ = true;
  start_ = true;
  state_->RunStarted();
  wake_.notify_all();
  return 0;
}

void* Vcpu::ThreadMain(void* self) {
#if defined(__GLIBC__)
  pthread_setname_np(pthread_self(), "vcpu");
#endif
  sigset_t kick;
  sigemptyset(&kick);
  sigaddset(&kick, KickSignal());
  // A fault of our own in this thread must end the process, not hang it.
  for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP}) sigaddset(&kick, signal);
  pthread_sigmask(SIG_UNBLOCK, &kick, nullptr);
  static_cast<Vcpu*>(self)->ThreadLoop();
  return nullptr;
}

void Vcpu::ThreadLoop() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return start_ || quit_; });
    if (!start_) return;
    start_ = false;
    runner_ = static_cast<pid_t>(syscall(SYS_gettid));
    lock.unlock();
    const int result = Enter();
    lock.lock();
    Leave(result);
    Completion* completion = new Completion{state_, done_, result};
    done_ = nullptr;
    wake_.notify_all();
    lock.unlock();
    if (napi_call_threadsafe_function(state_->completions(), completion, napi_tsfn_nonblocking) != napi_ok) {
      delete completion;  // the environment is closing: nobody waits any more
    }
    lock.lock();
  }
}

void Vcpu::Complete(napi_env env, napi_value, void*, void* data) {
  Completion* completion = static_cast<Completion*>(data);
  if (env == nullptr) {
    delete completion;
    return;
  }
  const Completion done = *completion;
  delete completion;
  done.state->RunFinished();
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value function = nullptr, receiver = nullptr, result = nullptr;
  napi_get_reference_value(env, done.done, &function);
  napi_delete_reference(env, done.done);
  napi_get_undefined(env, &receiver);
  napi_create_int32(env, done.result, &result);
  if (function != nullptr &&
      napi_call_function(env, receiver, function, 1, &result, nullptr) == napi_pending_exception) {
    napi_value error;
    if (napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

}  // namespace privmem
