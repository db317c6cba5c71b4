// ioctl(2), with the buffer checked against the size that the request number encodes.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "functions.h"
#include "registry.h"

namespace privmem {

namespace {

constexpr unsigned kMakesFd = 1;
constexpr unsigned kLengthChecked = 2;
constexpr size_t kMaxPointers = 8;
constexpr size_t kBounce = 16384;  // more than the largest size that a request can encode

// Where a struct is handed to the kernel: it ends at a page that cannot be touched. A request whose real size
// goes beyond what its number encodes (flexible arrays) then meets EFAULT where it would overwrite the heap.
struct Bounce {
  uint8_t* end = nullptr;

  Bounce() {
    const size_t page = PageSize();
    void* got = mmap(nullptr, kBounce + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED) return;
    end = static_cast<uint8_t*>(got) + kBounce;
    mprotect(end, page, PROT_NONE);
  }

  // Runs when the thread ends.
  ~Bounce() {
    if (end != nullptr) munmap(end - kBounce, kBounce + PageSize());
  }
};

uint8_t* BounceEnd() {
  static thread_local const Bounce bounce;
  return bounce.end;
}

size_t EncodedSize(unsigned request) { return (request >> 16) & 0x3fff; }

// Bytes that a number as argument may be the address of. Requests of KVM tell it by their size; old ones of other
// drivers encode none and take an address all the same.
size_t AddressedSize(unsigned request) {
  constexpr unsigned kKvmType = 0xAE;
  const size_t size = EncodedSize(request);
  return size == 0 && ((request >> 8) & 0xff) != kKvmType ? PageSize() : size;
}

// The lowest descriptor that is free. Tells a new descriptor from a number that a request answers.
int LowestFree(int open_fd) {
  const int next = fcntl(open_fd, F_DUPFD_CLOEXEC, 0);
  if (next >= 0) close(next);
  return next;
}

// Whether a call that should make a descriptor made `fd`. A new one is not below what was free before, unless another
// thread closed a lower one in between: then what it is called tells.
bool IsNew(int fd, int lowest) {
  if (fd >= lowest) return true;
  char link[64] = "";
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return readlink(path.c_str(), link, sizeof link - 1) > 0 && std::strstr(link, "kvm") != nullptr;
}

// Addresses of other buffers written into the argument for the time of the call. What was there before is put back, so
// that no host address ever shows in JavaScript.
class Pointers {
 public:
  // `list`: offset, buffer, offset, buffer, … Looked up before the address of any buffer is taken.
  bool Collect(napi_env env, napi_value list) {
    uint32_t length = 0;
    if (napi_get_array_length(env, list, &length) != napi_ok || length > 2 * kMaxPointers) {
      return ThrowRange(env, "pointers must have at most 8 entries");
    }
    for (count_ = 0; 2 * count_ + 1 < length; count_++) {
      napi_value offset;
      if (napi_get_element(env, list, 2 * count_, &offset) != napi_ok ||
          napi_get_element(env, list, 2 * count_ + 1, &patches_[count_].view) != napi_ok ||
          napi_get_value_double(env, offset, &patches_[count_].offset) != napi_ok) {
        return ThrowType(env, "pointers must be pairs of an offset and a Uint8Array");
      }
    }
    return true;
  }

  bool Any() const { return count_ != 0; }

  bool Place(napi_env env, uint8_t* buffer, size_t length) {
    for (; placed_ < count_; placed_++) {
      Patch& patch = patches_[placed_];
      Bytes view;
      if (!ReadBytes(env, patch.view, &view)) return false;
      if (!(patch.offset >= 0 && patch.offset + 8 <= length) || patch.offset != static_cast<size_t>(patch.offset)) {
        return ThrowRange(env, "pointers: an offset must leave 8 bytes in a buffer of " + std::to_string(length));
      }
      patch.place = buffer + static_cast<size_t>(patch.offset);
      std::memcpy(&patch.saved, patch.place, 8);
      std::memcpy(patch.place, &view.data, 8);
    }
    return true;
  }

  ~Pointers() { Restore(); }

  void Restore() {
    for (; placed_ > 0; placed_--) std::memcpy(patches_[placed_ - 1].place, &patches_[placed_ - 1].saved, 8);
  }

 private:
  struct Patch {
    napi_value view;
    double offset;
    uint8_t* place;
    uint64_t saved;
  };
  uint32_t count_ = 0, placed_ = 0;
  Patch patches_[kMaxPointers];
};

bool CheckLength(napi_env env, unsigned request, unsigned how, size_t length) {
  const size_t want = EncodedSize(request);
  if ((how & kLengthChecked) != 0 ? length >= want : (length == want && want != 0)) return true;
  return ThrowRange(env,
                    "the buffer has " + std::to_string(length) + " bytes, the request encodes " + std::to_string(want));
}

// A descriptor that is made is closed to children here, not in a later call: a guest_memfd comes without close-on-exec,
// and a worker may be ended in between.
long MakeIoctl(EnvState* state, unsigned long value) {
  const int64_t* args = state->frame()->args;
  const int fd = static_cast<int>(args[0]);
  const bool makes_fd = (args[3] & kMakesFd) != 0;
  const int lowest = makes_fd ? LowestFree(fd) : -1;
  const int result = ioctl(fd, static_cast<unsigned>(args[1]), value);
  if (result >= 0 && lowest >= 0 && IsNew(result, lowest)) {
    fcntl(result, F_SETFD, FD_CLOEXEC);
    Registry::Get().AddFd(result, state);
  }
  return result;
}

}  // namespace

// With a number as the argument. The cheapest requests take a hundred nanoseconds, so that whatever stands around them
// shows.
napi_value Ioctl(napi_env env, napi_callback_info) {
  EnvState* state = EnvState::Of(env);
  const int64_t* args = state->frame()->args;
  const size_t size = AddressedSize(static_cast<unsigned>(args[1]));
  Range range;
  if (size != 0 && args[2] != 0 && PageRange(args[2], size, &range) && !Registry::Get().MayTouch(range)) {
    ThrowRange(env, "arg is the address of memory that privmem did not map");
    return nullptr;
  }
  return SysResult(state->frame(), MakeIoctl(state, args[2]));
}

// With a buffer as the argument, and maybe a list of pointers.
napi_value IoctlWithBytes(napi_env env, napi_callback_info info) {
  const Values<2> values(env, info);
  EnvState* state = EnvState::Of(env);
  const int64_t* args = state->frame()->args;
  Pointers pointers;
  Bytes arg;
  if (values.Given(1) && !pointers.Collect(env, values[1])) return nullptr;
  if (!ReadBytes(env, values[0], &arg)) return nullptr;
  if (!CheckLength(env, static_cast<unsigned>(args[1]), static_cast<unsigned>(args[3]), arg.length)) return nullptr;
  uint8_t* handed = arg.data;
  // A view onto guest memory goes as it is: only the kernel can read it without the risk of a fault.
  const bool is_view = Registry::Get().InMappings(arg.data);
  if (is_view && pointers.Any()) {
    ThrowRange(env, "arg: a view of guest memory cannot hold pointers");
    return nullptr;
  }
  if (arg.length != 0 && arg.length <= kBounce && BounceEnd() != nullptr && !is_view) {
    handed = BounceEnd() - arg.length;
    std::memcpy(handed, arg.data, arg.length);
  }
  if (!pointers.Place(env, handed, arg.length)) return nullptr;
  SysResult(state->frame(), MakeIoctl(state, reinterpret_cast<unsigned long>(handed)));
  pointers.Restore();
  if (handed != arg.data) std::memcpy(arg.data, handed, arg.length);
  return nullptr;
}

}  // namespace privmem
