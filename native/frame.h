// What passes between native.ts and the addon beside buffers: the numbers of a call, and its result. They lie in memory
// that both sides see, because handing over one number through Node-API takes a tenth of the time of the cheapest
// system call.
#pragma once
#include <cstddef>
#include <cstdint>

namespace privmem {

constexpr size_t kFrameArgs = 6;

// What stopped an access to memory; signal 0: nothing did.
struct Fault {
  int64_t signal = 0;
  int64_t code = 0;
  uint64_t address = 0;
};

struct Frame {
  int64_t args[kFrameArgs];  // as a system call takes them
  int64_t row;               // which system call, for Call and CallWithBytes
  double result;             // a value, or errno negated
  int64_t wide;              // the same, where a double does not hold it
  Fault fault;               // of a copy
  int64_t handlers_seen;     // 0 makes the next copy look whether its signal handlers are still in place
};
static_assert(sizeof(Frame) == 13 * 8, "native.ts knows the places");

}  // namespace privmem
