// The functions that JavaScript sees, one for each call of the waist.
#pragma once
#include "napi_util.h"

namespace privmem {

// clang-format off
#define PRIVMEM_CALLS(X) \
  X(Open, "open") X(Close, "close") X(Adopt, "adopt") X(Fcntl, "fcntl") X(Ioctl, "ioctl") \
  X(MemfdCreate, "memfdCreate") X(MemfdSecret, "memfdSecret") X(Eventfd, "eventfd") X(Ftruncate, "ftruncate") \
  X(Fchmod, "fchmod") X(Fallocate, "fallocate") X(Fstat, "fstat") X(Lseek, "lseek") X(Read, "read") \
  X(Write, "write") X(Pread, "pread") X(Pwrite, "pwrite") X(Cachestat, "cachestat") X(Mmap, "mmap") \
  X(Munmap, "munmap") X(Mprotect, "mprotect") X(Madvise, "madvise") X(Mincore, "mincore") X(CopyOut, "copyOut") \
  X(CopyIn, "copyIn") X(Fill, "fill") X(Compare, "compare") X(MakeView, "view") X(VcpuAttach, "vcpuAttach") \
  X(VcpuRun, "vcpuRun") X(VcpuStart, "vcpuStart") X(VcpuKick, "vcpuKick") X(VcpuDetach, "vcpuDetach")
// clang-format on

#define PRIVMEM_DECLARE(function, name) napi_value function(napi_env env, napi_callback_info info);
PRIVMEM_CALLS(PRIVMEM_DECLARE)
#undef PRIVMEM_DECLARE

}  // namespace privmem
