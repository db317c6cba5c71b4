// Touching memory that may not be there. A page of guest memory that is private, beyond the end of a file, or
// donated to a guest answers the host with SIGBUS or SIGSEGV; here that ends the access, not the process.
#pragma once
#include "frame.h"

namespace privmem {

// The handlers of SIGBUS and SIGSEGV, put in place, or back in place when somebody replaced them. To be called before
// the accesses below. Asking takes two system calls, so it is done only when `seen` is not what this function left
// there; ForgetHandlers makes that so for every thread.
void WatchHandlers(int64_t* seen);
void ForgetHandlers();

// Each returns the bytes done before the first one that could not be reached, and then fills `fault`.
size_t SafeRead(uint8_t* into, uintptr_t from, size_t length, Fault* fault);
size_t SafeWrite(uintptr_t into, const uint8_t* from, size_t length, Fault* fault);
size_t SafeFill(uintptr_t at, uint8_t byte, size_t length, Fault* fault);
// The index of the first byte that differs, or the length.
size_t SafeCompare(uintptr_t at, const uint8_t* expected, size_t length, Fault* fault);

}  // namespace privmem
