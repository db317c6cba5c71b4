// What one JavaScript environment (the main thread or a worker) holds. Torn down with it, whatever JavaScript forgot.
#pragma once
#include <memory>
#include <unordered_map>

#include "frame.h"
#include "napi.h"

namespace privmem {

class Vcpu;

class EnvState {
 public:
  // Null when the environment is already dying.
  static EnvState* Create(napi_env env);
  static EnvState* Of(napi_env env) {
    void* state = nullptr;
    napi_get_instance_data(env, &state);
    return static_cast<EnvState*>(state);
  }

  Frame* frame() const { return frame_; }
  // The ArrayBuffer that the frame lies in.
  napi_value FrameBuffer() const;

  int AddVcpu(std::unique_ptr<Vcpu> vcpu);
  Vcpu* FindVcpu(int64_t handle);
  std::unique_ptr<Vcpu> TakeVcpu(int64_t handle);

  // Completions of runs on other threads. A run under way keeps the event loop alive, an idle vCPU does not.
  void RunStarted();
  void RunFinished();
  napi_threadsafe_function completions() const { return completions_; }

 private:
  explicit EnvState(napi_env env);
  ~EnvState();
  static void OnTeardown(void* self);

  napi_env env_;
  Frame* frame_ = nullptr;
  napi_ref buffer_ = nullptr;
  napi_threadsafe_function completions_ = nullptr;
  int runs_ = 0;
  int next_handle_ = 1;
  std::unordered_map<int64_t, std::unique_ptr<Vcpu>> vcpus_;
};

}  // namespace privmem
