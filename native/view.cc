#include "view.h"

#include <sys/mman.h>

#include "functions.h"

namespace privmem {

namespace {

constexpr int kNoExternalBuffers = 22;  // napi_no_external_buffers_allowed, which older headers do not name

void OnBufferGone(napi_env env, void* /*data*/, void* hint) {
  View* view = static_cast<View*>(hint);
  {
    Registry& registry = Registry::Get();
    std::lock_guard<std::recursive_mutex> lock(registry.mutex());
    registry.views().remove(view);
  }
  if (view->buffer != nullptr) napi_delete_reference(env, view->buffer);
  delete view;
}

void Detach(napi_env env, View* view) {
  if (view->detached) return;
  view->detached = true;
  napi_value buffer = nullptr;
  if (napi_get_reference_value(env, view->buffer, &buffer) != napi_ok || buffer == nullptr) return;
  bool already = false;
  napi_is_detached_arraybuffer(env, buffer, &already);
  if (!already) napi_detach_arraybuffer(env, buffer);
}

}  // namespace

int UnmapRange(napi_env env, const Range& range) {
  Registry& registry = Registry::Get();
  std::lock_guard<std::recursive_mutex> lock(registry.mutex());
  std::vector<View*> touched;
  for (View* view : registry.views()) {
    if (!view->Overlaps(range)) continue;
    // Only its own thread can detach a buffer.
    if (env != nullptr && view->env != env) return -EBUSY;
    touched.push_back(view);
  }
  void* start = reinterpret_cast<void*>(range.start);
  const size_t length = range.bytes;
  if (touched.empty()) {
    if (munmap(start, length) != 0) return -errno;
  } else {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    if (mmap(start, length, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) return -errno;
    const std::shared_ptr<void> afterlife(start, [length](void* from) { munmap(from, length); });
    // First all of them get their share: a detached buffer may be finalized at once.
    for (View* view : touched) view->afterlives.push_back(afterlife);
  }
  registry.DropMapping(range);
  for (View* view : touched) {
    if (env != nullptr) Detach(env, view);
  }
  return 0;
}

napi_value MakeView(napi_env env, napi_callback_info) {
  EnvState* state = EnvState::Of(env);
  Frame* frame = state->frame();
  const uint64_t address = frame->args[0], length = frame->args[1];
  Range range;
  Registry& registry = Registry::Get();
  std::lock_guard<std::recursive_mutex> lock(registry.mutex());
  if (!PageRange(address, length, &range)) {
    ThrowRange(env, "view must have a length of at least 1 byte and lie inside the address space");
    return nullptr;
  }
  EnvState* owner = registry.OwnerOf(range);
  if (owner == nullptr && !registry.Covers(range)) {
    ThrowRange(env, "view is memory that privmem did not map");
    return nullptr;
  }
  // Buffers belong to one environment: two of them must not alias one mapping that either could unmap.
  if (owner != state) return Answer(frame, -EBUSY);
  // Node ends the process over a buffer that begins there.
  if (address == 0) return Answer(frame, -EOPNOTSUPP);
  napi_value buffer = nullptr;
  for (View* view : registry.views()) {
    if (view->env != env || view->detached || view->address != address || view->length != length) continue;
    if (napi_get_reference_value(env, view->buffer, &buffer) == napi_ok && buffer != nullptr) return buffer;
  }
  View* view = new View{address, length, owner, env, nullptr, false, {}};
  const napi_status status =
      napi_create_external_arraybuffer(env, reinterpret_cast<void*>(address), length, OnBufferGone, view, &buffer);
  if (status != napi_ok) {
    // Left alone: on some failures Node calls the finalizer nevertheless, and that one deletes it.
    napi_value ignored;
    napi_get_and_clear_last_exception(env, &ignored);
    return Answer(frame, static_cast<int>(status) == kNoExternalBuffers ? -EOPNOTSUPP : -ENOMEM);
  }
  napi_create_reference(env, buffer, 0, &view->buffer);
  registry.views().push_back(view);
  return buffer;
}

}  // namespace privmem
