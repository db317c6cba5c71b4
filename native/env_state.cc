#include "env_state.h"

#include "registry.h"
#include "vcpu.h"

namespace privmem {

EnvState::EnvState(napi_env env) : env_(env) {}

EnvState::~EnvState() = default;

EnvState* EnvState::Create(napi_env env) {
  EnvState* state = new EnvState(env);
  napi_value name, buffer;
  void* frame = nullptr;
  if (napi_create_arraybuffer(env, sizeof(Frame), &frame, &buffer) != napi_ok ||
      napi_create_reference(env, buffer, 1, &state->buffer_) != napi_ok ||
      napi_create_string_utf8(env, "privmem", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, state, Vcpu::Complete,
                                      &state->completions_) != napi_ok) {
    delete state;
    return nullptr;
  }
  state->frame_ = static_cast<Frame*>(frame);
  napi_unref_threadsafe_function(env, state->completions_);
  // After the thread-safe function: hooks run in reverse, and no vCPU thread may call it once it is torn down.
  napi_add_env_cleanup_hook(env, OnTeardown, state);
  napi_set_instance_data(env, state, nullptr, nullptr);
  return state;
}

napi_value EnvState::FrameBuffer() const {
  napi_value buffer = nullptr;
  napi_get_reference_value(env_, buffer_, &buffer);
  return buffer;
}

void EnvState::OnTeardown(void* self) {
  EnvState* state = static_cast<EnvState*>(self);
  state->vcpus_.clear();
  Registry::Get().ReleaseAll(state);
  // The state itself stays: completions that are still queued are handed out after this, with no environment.
}

int EnvState::AddVcpu(std::unique_ptr<Vcpu> vcpu) {
  const int handle = next_handle_++;
  vcpus_[handle] = std::move(vcpu);
  return handle;
}

Vcpu* EnvState::FindVcpu(int64_t handle) {
  const auto it = vcpus_.find(handle);
  return it == vcpus_.end() ? nullptr : it->second.get();
}

std::unique_ptr<Vcpu> EnvState::TakeVcpu(int64_t handle) {
  const auto node = vcpus_.extract(handle);
  return node.empty() ? nullptr : std::move(node.mapped());
}

void EnvState::RunStarted() {
  if (runs_++ == 0) napi_ref_threadsafe_function(env_, completions_);
}

void EnvState::RunFinished() {
  if (--runs_ == 0) napi_unref_threadsafe_function(env_, completions_);
}

}  // namespace privmem
