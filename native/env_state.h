// What one JavaScript environment (the main thread or a worker) holds. Torn down with it, whatever JavaScript
// forgot.
#pragma once
#include <memory>
#include <unordered_map>

#include "napi_util.h"

namespace privmem {

class Vcpu;

class EnvState {
 public:
  // Null when the environment is already dying.
  static EnvState* Create(napi_env env);

  napi_env env() const { return env_; }

  int AddVcpu(std::unique_ptr<Vcpu> vcpu);
  Vcpu* FindVcpu(int handle);
  std::unique_ptr<Vcpu> TakeVcpu(int handle);

  // Completions of runs on other threads. A run under way keeps the event loop alive, an idle vCPU does not.
  void RunStarted();
  void RunFinished();
  napi_threadsafe_function completions() const { return completions_; }

 private:
  explicit EnvState(napi_env env);
  ~EnvState();
  static void OnTeardown(void* self);

  napi_env env_;
  napi_threadsafe_function completions_ = nullptr;
  int runs_ = 0;
  int next_handle_ = 1;
  std::unordered_map<int, std::unique_ptr<Vcpu>> vcpus_;
};

}  // namespace privmem
