// The fault-safe copies as JavaScript sees them.
#include "calls.h"
#include "registry.h"
#include "safe_copy.h"

namespace privmem {

namespace {

constexpr size_t kFaultValues = 3;

bool Ours(napi_env env, const char* what, uint64_t address, uint64_t length) {
  uintptr_t start;
  size_t bytes;
  if (length == 0) return true;
  if (!PageRange(address, length, &start, &bytes)) {
    return ThrowRange(env, std::string(what) + " goes beyond the end of the address space");
  }
  if (Registry::Get().MayTouch(start, bytes)) return true;
  return ThrowRange(env, std::string(what) + " covers memory that privmem did not map");
}

// Reads the optional third or fourth argument before the access, writes it after.
class FaultOut {
 public:
  FaultOut(Args& args, size_t i)
      : ok_(args.Absent(i) || args.Out64(i, "fault", napi_bigint64_array, kFaultValues, &out_)) {}
  bool ok() const { return ok_; }
  void Store(const Fault& fault) const {
    if (out_ == nullptr) return;
    out_[0] = static_cast<uint64_t>(fault.signal);
    out_[1] = static_cast<uint64_t>(static_cast<int64_t>(fault.code));
    out_[2] = fault.address;
  }

 private:
  uint64_t* out_ = nullptr;
  bool ok_;
};

template <typename Access>
napi_value WithBuffer(napi_env env, napi_callback_info info, const char* what, Access access) {
  Args args(env, info);
  uint64_t address;
  uint8_t* data;
  size_t length;
  if (!args.U64(0, "address", &address) || !args.Bytes(1, "buffer", &data, &length)) return nullptr;
  const FaultOut out(args, 2);
  if (!out.ok() || !Ours(env, what, address, length)) return nullptr;
  Fault fault;
  const size_t done = access(static_cast<uintptr_t>(address), data, length, &fault);
  out.Store(fault);
  return Number(env, static_cast<double>(done));
}

}  // namespace

napi_value CopyOut(napi_env env, napi_callback_info info) {
  return WithBuffer(env, info, "copyOut",
                    [](uintptr_t at, uint8_t* data, size_t n, Fault* fault) { return SafeRead(data, at, n, fault); });
}

napi_value CopyIn(napi_env env, napi_callback_info info) {
  return WithBuffer(env, info, "copyIn",
                    [](uintptr_t at, uint8_t* data, size_t n, Fault* fault) { return SafeWrite(at, data, n, fault); });
}

napi_value Compare(napi_env env, napi_callback_info info) {
  return WithBuffer(env, info, "compare", [](uintptr_t at, uint8_t* data, size_t n, Fault* fault) {
    return SafeCompare(at, data, n, fault);
  });
}

napi_value Fill(napi_env env, napi_callback_info info) {
  Args args(env, info);
  uint64_t address, length;
  unsigned byte;
  if (!args.U64(0, "address", &address) || !args.U64(1, "length", &length) || !args.Bits32(2, "byte", &byte))
    return nullptr;
  const FaultOut out(args, 3);
  if (!out.ok()) return nullptr;
  if (byte > 0xff) {
    ThrowRange(env, "byte must be an integer between 0 and 255");
    return nullptr;
  }
  if (!Ours(env, "fill", address, length)) return nullptr;
  Fault fault;
  const size_t done = SafeFill(address, static_cast<uint8_t>(byte), length, &fault);
  out.Store(fault);
  return Number(env, static_cast<double>(done));
}

}  // namespace privmem
