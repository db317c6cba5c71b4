// ioctl(2), with the buffer checked against the size that the request number encodes.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "calls.h"
#include "registry.h"

namespace privmem {

namespace {

constexpr unsigned kMakesFd = 1;
constexpr unsigned kLengthChecked = 2;
constexpr size_t kMaxPointers = 8;
constexpr size_t kBounce = 16384;  // more than the largest size that a request can encode

// Where a struct is handed to the kernel: it ends at a page that cannot be touched. A request whose real size
// goes beyond what its number encodes (flexible arrays) then meets EFAULT where it would overwrite the heap.
uint8_t* BounceEnd() {
  static thread_local uint8_t* const end = [] {
    const size_t page = PageSize();
    void* got = mmap(nullptr, kBounce + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED) return static_cast<uint8_t*>(nullptr);
    mprotect(static_cast<uint8_t*>(got) + kBounce, page, PROT_NONE);
    return static_cast<uint8_t*>(got) + kBounce;
  }();
  return end;
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

// Addresses of other buffers written into the argument for the time of the call. What was there before is put
// back, so that no host address ever shows in JavaScript.
class Pointers {
 public:
  // Looks up the entries. A getter may run JavaScript here, so no buffer's address is taken before this is
  // over.
  bool Collect(napi_env env, napi_value list) {
    uint32_t count = 0;
    if (napi_get_array_length(env, list, &count) != napi_ok) return ThrowType(env, "pointers must be an array");
    if (count > kMaxPointers) return ThrowRange(env, "pointers must have at most 8 entries");
    for (; collected_ < count; collected_++) {
      napi_value entry, offset;
      bool is_array = false, pending = false;
      if (napi_get_element(env, list, collected_, &entry) == napi_ok &&
          napi_is_array(env, entry, &is_array) == napi_ok && is_array &&
          napi_get_element(env, entry, 0, &offset) == napi_ok &&
          napi_get_element(env, entry, 1, &views_[collected_]) == napi_ok &&
          napi_get_value_double(env, offset, &offsets_[collected_]) == napi_ok) {
        continue;
      }
      if (napi_is_exception_pending(env, &pending) == napi_ok && pending) return false;
      return ThrowType(env, "pointers must be pairs of an offset and a Uint8Array");
    }
    return true;
  }

  bool Place(napi_env env, uint8_t* buffer, size_t length) {
    for (uint32_t i = 0; i < collected_; i++) {
      napi_typedarray_type type;
      size_t size;
      void* data = nullptr;
      if (napi_get_typedarray_info(env, views_[i], &type, &size, &data, nullptr, nullptr) != napi_ok ||
          type != napi_uint8_array) {
        return ThrowType(env, "pointers must be pairs of an offset and a Uint8Array");
      }
      const double offset = offsets_[i];
      if (!(offset >= 0) || offset + 8 > static_cast<double>(length) ||
          offset != static_cast<double>(static_cast<size_t>(offset))) {
        return ThrowRange(env, "pointers: an offset must leave 8 bytes in a buffer of " + std::to_string(length));
      }
      places_[placed_] = buffer + static_cast<size_t>(offset);
      std::memcpy(&saved_[placed_], places_[placed_], 8);
      const uint64_t address = reinterpret_cast<uintptr_t>(data);
      std::memcpy(places_[placed_], &address, 8);
      placed_++;
    }
    return true;
  }

  ~Pointers() { Restore(); }

  void Restore() {
    while (placed_ > 0) {
      placed_--;
      std::memcpy(places_[placed_], &saved_[placed_], 8);
    }
  }

 private:
  uint32_t collected_ = 0, placed_ = 0;
  napi_value views_[kMaxPointers];
  double offsets_[kMaxPointers];
  uint8_t* places_[kMaxPointers];
  uint64_t saved_[kMaxPointers];
};

bool CheckLength(napi_env env, unsigned request, unsigned how, size_t length) {
  const size_t want = EncodedSize(request);
  if ((how & kLengthChecked) != 0 ? length >= want : (length == want && want != 0)) return true;
  return ThrowRange(env,
                    "the buffer has " + std::to_string(length) + " bytes, the request encodes " + std::to_string(want));
}

// Everything but the plain case of Ioctl below: structs, addresses, bigints, requests that make a descriptor.
__attribute__((noinline)) napi_value IoctlInFull(Args& args, int fd, unsigned request, unsigned how) {
  const napi_env env = args.env();
  unsigned long value = 0;
  uint8_t* data = nullptr;
  uint8_t* handed = nullptr;
  size_t length = 0;
  Pointers pointers;
  double number;
  if (napi_get_value_double(env, args[2], &number) == napi_ok || args.TypeOf(2) == napi_bigint) {
    uint64_t scalar;
    if (!args.U64(2, "arg", &scalar)) return nullptr;
    uintptr_t start;
    size_t bytes;
    const size_t size = AddressedSize(request);
    if (size != 0 && scalar != 0 && PageRange(scalar, size, &start, &bytes) &&
        !Registry::Get().MayTouch(start, bytes)) {
      ThrowRange(env, "arg is the address of memory that privmem did not map");
      return nullptr;
    }
    value = scalar;
  } else {
    if (args.Given(4) && !args.Absent(4) && !pointers.Collect(env, args[4])) return nullptr;
    if (!args.Bytes(2, "arg", &data, &length) || !CheckLength(env, request, how, length)) return nullptr;
    handed = data;
    // A view onto guest memory goes as it is: only the kernel can read it without the risk of a fault.
    if (length != 0 && length <= kBounce && BounceEnd() != nullptr && !Registry::Get().InMappings(data)) {
      handed = BounceEnd() - length;
      std::memcpy(handed, data, length);
    }
    if (!pointers.Place(env, handed, length)) return nullptr;
    value = reinterpret_cast<unsigned long>(handed);
  }
  const int lowest = (how & kMakesFd) != 0 ? LowestFree(fd) : 0;
  const int result = ioctl(fd, request, value);
  const int error = errno;
  pointers.Restore();
  if (handed != data) std::memcpy(data, handed, length);
  if (result < 0) return Int(env, -error);
  if ((how & kMakesFd) != 0 && lowest >= 0 && IsNew(result, lowest)) {
    // Here, not in a later call: a guest_memfd comes without close-on-exec, and a worker may be ended in
    // between.
    fcntl(result, F_SETFD, FD_CLOEXEC);
    Registry::Get().AddFd(result, args.state());
  }
  return Int(env, result);
}

}  // namespace

napi_value Ioctl(napi_env env, napi_callback_info info) {
  Args args(env, info);
  int fd;
  unsigned request, how = 0;
  if (!args.Int32(0, "fd", &fd) || !args.Bits32(1, "request", &request)) return nullptr;
  int64_t bits;
  if (args.Given(3)) {
    if (args.Integer(3, 0, 4294967295.0, &bits)) {
      how = static_cast<unsigned>(bits);
    } else if (!args.Absent(3) && !args.Bits32(3, "how", &how)) {
      return nullptr;
    }
  }
  // A number that is no address, and no descriptor to be kept: there is nothing else to check. The cheapest requests
  // take a hundred nanoseconds, so that whatever stands around them shows.
  int64_t number;
  if ((how & kMakesFd) == 0 && AddressedSize(request) == 0 && args.Integer(2, 0, kMaxSafe, &number)) {
    const int result = ioctl(fd, request, static_cast<unsigned long>(number));
    return Int(env, result < 0 ? -errno : result);
  }
  return IoctlInFull(args, fd, request, how);
}

}  // namespace privmem
