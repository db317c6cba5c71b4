// Descriptors: which of them JavaScript may close, and what fcntl may be asked.
#include <fcntl.h>
#include <unistd.h>

#include "functions.h"
#include "registry.h"

namespace privmem {

napi_value Close(napi_env env, napi_callback_info) {
  Frame* frame = EnvState::Of(env)->frame();
  const int fd = static_cast<int>(frame->args[0]);
  Registry& registry = Registry::Get();
  std::unique_lock<std::recursive_mutex> lock(registry.mutex());
  if (!registry.OwnsFd(fd)) {
    if (fcntl(fd, F_GETFD) < 0) return SysResult(frame, -1);
    ThrowRange(env, "fd " + std::to_string(fd) + " was not opened by privmem; adopt it first");
    return nullptr;
  }
  registry.DropFd(fd);
  // Destroying a VM takes time; others need not wait for it.
  lock.unlock();
  // Never repeated: Linux releases the number even when close is interrupted.
  return SysResult(frame, close(fd));
}

napi_value Adopt(napi_env env, napi_callback_info) {
  EnvState* state = EnvState::Of(env);
  const int fd = static_cast<int>(state->frame()->args[0]);
  const int flags = fcntl(fd, F_GETFD);
  if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0) return SysResult(state->frame(), -1);
  Registry::Get().AddFd(fd, state);
  return Answer(state->frame(), 0);
}

napi_value Fcntl(napi_env env, napi_callback_info) {
  constexpr int kAddSeals = 1033, kGetSeals = 1034;
  EnvState* state = EnvState::Of(env);
  const int64_t* args = state->frame()->args;
  const int fd = static_cast<int>(args[0]), command = static_cast<int>(args[1]), arg = static_cast<int>(args[2]);
  switch (command) {
    case F_DUPFD_CLOEXEC:
    case F_GETFD:
    case F_SETFD:
    case F_GETFL:
    case F_SETFL:
    case kAddSeals:
    case kGetSeals:
      break;
    default:
      // Other commands take pointers, which a number cannot safely stand for.
      ThrowRange(env,
                 "command must be F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_ADD_SEALS or F_GET_SEALS");
      return nullptr;
  }
  const int result = fcntl(fd, command, arg);
  SysResult(state->frame(), result);
  if (command == F_DUPFD_CLOEXEC && result >= 0) Registry::Get().AddFd(result, state);
  return nullptr;
}

}  // namespace privmem
