// The functions that native.ts calls. Numbers come and go by the frame; buffers and callbacks are arguments.
#pragma once
#include "napi_util.h"

namespace privmem {

// clang-format off
#define PRIVMEM_FUNCTIONS(X) \
  X(Call, "call") X(CallWithBytes, "callWithBytes") X(Close, "close") X(Adopt, "adopt") X(Pipe, "pipe") \
  X(Fcntl, "fcntl") X(Ioctl, "ioctl") X(IoctlWithBytes, "ioctlWithBytes") X(Mmap, "mmap") X(Munmap, "munmap") \
  X(Vmsplice, "vmsplice") X(ProcessVmReadv, "processVmReadv") X(ProcessVmWritev, "processVmWritev") \
  X(CopyOut, "copyOut") X(CopyIn, "copyIn") X(Fill, "fill") X(Compare, "compare") \
  X(HandlersChanged, "handlersChanged") X(MakeView, "view") X(VcpuAttach, "vcpuAttach") X(VcpuRun, "vcpuRun") \
  X(VcpuStart, "vcpuStart") X(VcpuKick, "vcpuKick") X(VcpuDetach, "vcpuDetach")
// clang-format on

#define PRIVMEM_DECLARE(function, name) napi_value function(napi_env env, napi_callback_info info);
PRIVMEM_FUNCTIONS(PRIVMEM_DECLARE)
#undef PRIVMEM_DECLARE

// The names of the system calls that Call and CallWithBytes make, in the order of their numbers in the frame.
napi_value CallNames(napi_env env);

}  // namespace privmem
