// What passes between native.ts and the addon beside buffers: the numbers of a call, and its result. They lie in memory
// that both sides see, because handing over one number through Node-API takes a tenth of the time of the cheapest
// system call.
#pragma once
#include <cstddef>
#include <cstdint>

namespace privmem {

constexpr size_t kFrameArgs = 6;

struct Frame {
  int64_t args[kFrameArgs];  // as a system call takes them
  int64_t row;               // which system call, for Call and CallWithBytes
  double result;             // a value, or errno negated
  int64_t wide;              // the same, where a double does not hold it
  int64_t fault[3];          // of a copy: signal, si_code and address; signal 0 when it came to its end
  int64_t handlers_seen;     // 0 makes the next copy look whether its signal handlers are still in place
};
static_assert(sizeof(Frame) == 13 * 8, "native.ts knows the places");

}  // namespace privmem
