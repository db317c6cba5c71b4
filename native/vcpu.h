// A vCPU: KVM_RUN on the caller's thread or on one of its own, and the kick that ends it.
//
// A kick sets immediate_exit in the run page and, while a run is under way, signals its thread. Every kick
// makes exactly one run return EINTR: the one under way, or else the next. Kicks do not add up, and a run
// that came back for another reason leaves the kick pending.
#pragma once
#include <pthread.h>
#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "napi_util.h"

namespace privmem {

class Vcpu {
 public:
  Vcpu(EnvState* state, int fd, uint8_t* page);
  // Kicks and joins the thread; the completion of a run under way is still delivered.
  ~Vcpu();

  // Each returns 0 or a negated errno.
  int Run(napi_env env, int timeout_ms);
  int Start(napi_env env, napi_value done);
  int Kick();

  // Runs on the JavaScript thread for every run that ended on another.
  static void Complete(napi_env env, napi_value callback, void* context, void* data);

 private:
  static void* ThreadMain(void* self);
  void ThreadLoop();
  // KVM_RUN: 0 or a negated errno.
  int Enter();
  int RunSlice(int slice_ms, bool* limit_reached);
  // Both with the mutex held.
  void Signal();
  void Leave(int result);

  EnvState* state_;
  const int fd_;
  uint8_t* const page_;

  std::mutex mutex_;
  bool running_ = false;
  bool kicked_ = false;
  pid_t runner_ = 0;

  std::condition_variable wake_;
  bool has_thread_ = false;
  bool start_ = false;
  bool quit_ = false;
  napi_ref done_ = nullptr;
  pthread_t thread_{};
};

// immediate_exit of struct kvm_run.
void SetImmediateExit(uint8_t* run_page, uint8_t value);

// The signal that interrupts KVM_RUN; its handler is installed at the first call. 0 when no real-time signal
// is free.
int KickSignal();

}  // namespace privmem
