// Reading arguments and giving results. Raw Node-API calls, because an ioctl costs about a hundred
// nanoseconds and object wrappers would cost as much again.
#pragma once
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "napi.h"

namespace privmem {

class EnvState;

constexpr size_t kMaxArgs = 6;
constexpr double kMaxSafe = 9007199254740991.0;

// The arguments of one call. A reader that returns false has thrown a TypeError or RangeError naming the
// argument.
class Args {
 public:
  Args(napi_env env, napi_callback_info info) : env_(env) {
    void* data = nullptr;
    napi_get_cb_info(env, info, &argc_, argv_, nullptr, &data);
    state_ = static_cast<EnvState*>(data);
  }

  napi_env env() const { return env_; }
  EnvState* state() const { return state_; }

  // The readers of numbers are in the header: a number that fits costs one Node-API call and three comparisons.
  bool Int32(size_t i, const char* name, int* out) {
    int64_t value;
    if (!Integer(i, -2147483648.0, 2147483647.0, &value)) {
      NotInt32(i, name);
      return false;
    }
    *out = static_cast<int>(value);
    return true;
  }
  // Bits: -2^31 up to 2^32 - 1, because JavaScript's own bit operators give negative numbers.
  bool Bits32(size_t i, const char* name, unsigned* out) {
    int64_t value;
    if (!Integer(i, -2147483648.0, 4294967295.0, &value)) {
      NotBits32(i, name);
      return false;
    }
    *out = static_cast<unsigned>(value);
    return true;
  }
  bool U64(size_t i, const char* name, uint64_t* out) {
    int64_t value;
    if (!Integer(i, 0, kMaxSafe, &value)) return OtherU64(i, name, out);
    *out = static_cast<uint64_t>(value);
    return true;
  }
  bool S64(size_t i, const char* name, int64_t* out) {
    return Integer(i, -kMaxSafe, kMaxSafe, out) || OtherS64(i, name, out);
  }
  // An integer between the bounds, which are at most 2^53 - 1 away from 0; false for everything else, with nothing
  // thrown. NaN, infinities and fractions are everything else.
  bool Integer(size_t i, double low, double high, int64_t* out) const {
    double d;
    if (napi_get_value_double(env_, argv_[i], &d) != napi_ok || !(d >= low && d <= high)) return false;
    *out = static_cast<int64_t>(d);
    return d == static_cast<double>(*out);
  }
  bool Text(size_t i, const char* name, std::string* out);
  bool Bytes(size_t i, const char* name, uint8_t** data, size_t* length);
  // An array of at least `need` 64-bit values that receives results.
  bool Out64(size_t i, const char* name, napi_typedarray_type type, size_t need, uint64_t** out);
  bool Function(size_t i, const char* name, napi_value* out);

  // A cheap first question: whether the caller passed that many arguments at all.
  bool Given(size_t i) const { return argc_ > i; }
  bool Absent(size_t i) const;
  napi_value operator[](size_t i) const { return argv_[i]; }
  napi_valuetype TypeOf(size_t i) const;

 private:
  bool WrongType(const char* name, const char* want) const;
  // What is no integer in range as a number: throws, or reads a bigint.
  void NotInt32(size_t i, const char* name) const;
  void NotBits32(size_t i, const char* name) const;
  bool OtherU64(size_t i, const char* name, uint64_t* out) const;
  bool OtherS64(size_t i, const char* name, int64_t* out) const;

  napi_env env_;
  EnvState* state_ = nullptr;
  size_t argc_ = kMaxArgs;
  napi_value argv_[kMaxArgs];
};

bool ThrowRange(napi_env env, const std::string& message);
bool ThrowType(napi_env env, const std::string& message);

napi_value Number(napi_env env, double value);
napi_value Int(napi_env env, int value);

// The result of a system call: its value, or errno negated. Must be the first thing after the call.
inline napi_value SysResult(napi_env env, long result) {
  return result < 0 ? Int(env, -errno) : Number(env, static_cast<double>(result));
}

}  // namespace privmem
