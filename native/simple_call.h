// Calls whose arguments are numbers only: read in order, handed to a function, its result turned into a value or a
// negated errno.
#pragma once
#include <tuple>

#include "napi_util.h"
#include "registry.h"

namespace privmem {

struct Fd {
  using Type = int;
  const char* name = "fd";
  bool Read(Args& args, size_t i, int* out) const { return args.Int32(i, name, out); }
};

struct Bits {
  using Type = unsigned;
  const char* name;
  bool Read(Args& args, size_t i, unsigned* out) const { return args.Bits32(i, name, out); }
};

struct Size {
  using Type = uint64_t;
  const char* name;
  bool Read(Args& args, size_t i, uint64_t* out) const { return args.U64(i, name, out); }
};

// Signed: a negative offset or length must reach the kernel, which says EINVAL.
struct Offset {
  using Type = int64_t;
  const char* name;
  bool Read(Args& args, size_t i, int64_t* out) const { return args.S64(i, name, out); }
};

struct Text {
  using Type = std::string;
  const char* name;
  bool Read(Args& args, size_t i, std::string* out) const { return args.Text(i, name, out); }
};

// False when an argument was refused; the exception is pending then.
template <typename... Readers>
bool ReadAll(Args& args, std::tuple<typename Readers::Type...>* values, const Readers&... readers) {
  size_t i = 0;
  return std::apply([&](auto&... slots) { return (readers.Read(args, i++, &slots) && ...); }, *values);
}

template <typename Call, typename... Readers>
napi_value SimpleCall(napi_env env, napi_callback_info info, Call call, const Readers&... readers) {
  Args args(env, info);
  std::tuple<typename Readers::Type...> values;
  if (!ReadAll(args, &values, readers...)) return nullptr;
  return SysResult(env, static_cast<long>(std::apply(call, values)));
}

// The same for calls that make a descriptor.
template <typename Call, typename... Readers>
napi_value MakingCall(napi_env env, napi_callback_info info, Call call, const Readers&... readers) {
  Args args(env, info);
  std::tuple<typename Readers::Type...> values;
  if (!ReadAll(args, &values, readers...)) return nullptr;
  const long fd = std::apply(call, values);
  const napi_value result = SysResult(env, fd);
  if (fd >= 0) Registry::Get().AddFd(static_cast<int>(fd), args.state());
  return result;
}

}  // namespace privmem
