// Descriptors: which of them JavaScript may close, and what fcntl may be asked.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>

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

napi_value Pipe(napi_env env, napi_callback_info) {
  EnvState* state = EnvState::Of(env);
  Frame* frame = state->frame();
  int fds[2];
  if (pipe2(fds, static_cast<int>(frame->args[0]) | O_CLOEXEC) != 0) return SysResult(frame, -1);
  for (int i = 0; i < 2; i++) {
    Registry::Get().AddFd(fds[i], state);
    frame->args[i] = fds[i];
  }
  return Answer(frame, 0);
}

napi_value Fcntl(napi_env env, napi_callback_info) {
  // The others take pointers, which a number cannot safely stand for.
  static constexpr int kAllowed[] = {F_DUPFD_CLOEXEC,
                                     F_GETFD,
                                     F_SETFD,
                                     F_GETFL,
                                     F_SETFL,
                                     F_SETLEASE,
                                     F_GETLEASE,
                                     /* F_ADD_SEALS, F_GET_SEALS */ 1033,
                                     1034};
  EnvState* state = EnvState::Of(env);
  const int64_t* args = state->frame()->args;
  const int fd = static_cast<int>(args[0]), command = static_cast<int>(args[1]), arg = static_cast<int>(args[2]);
  if (std::find(std::begin(kAllowed), std::end(kAllowed), command) == std::end(kAllowed)) {
    ThrowRange(env, "this command of fcntl is not offered");
    return nullptr;
  }
  // Who opens the file against a lease has a signal sent to us: one that does no harm, in place of SIGIO, which would
  // end the process.
  if (command == F_SETLEASE) fcntl(fd, F_SETSIG, SIGURG);
  const int result = fcntl(fd, command, arg);
  SysResult(state->frame(), result);
  if (command == F_DUPFD_CLOEXEC && result >= 0) Registry::Get().AddFd(result, state);
  return nullptr;
}

}  // namespace privmem
