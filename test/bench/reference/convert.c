/* Conversions: attributes of a piece of 1 GiB, and a hole in the file of the side that was left. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kvm.h"
#include "reference.h"

#define KEEP_SIZE 1
#define PUNCH_HOLE 2
#define SW_PROTECTED_VM 1ul
#define GPA 0x100000000u
#define WHOLE (1ul << 30)

static int vm = -1, shared = -1, private = -1;
/* Goes on where the last batch ended: one pass to private, the next one back. */
static uint64_t at;
static int to_private = 1;

static int prepare(void) {
  if (vm >= 0) return 0;
  if (the_kvm() < 0) return -1;
  const int made = ioctl(the_kvm(), CREATE_VM, SW_PROTECTED_VM);
  if (made < 0) return (int)refuse("KVM_CREATE_VM, software-protected");
  shared = make_memfd(WHOLE);
  if (shared < 0) return -1;
  void* hva = mmap(NULL, WHOLE, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
  if (hva == MAP_FAILED) return (int)refuse("mmap");
  struct create_guest_memfd create = {.size = WHOLE};
  private = ioctl(made, CREATE_GUEST_MEMFD, &create);
  if (private < 0) return (int)refuse("KVM_CREATE_GUEST_MEMFD");
  struct region region = {
      .flags = MEM_GUEST_MEMFD, .gpa = GPA, .size = WHOLE, .hva = (uint64_t)hva, .guest_memfd = (uint32_t) private};
  if (ioctl(made, SET_USER_MEMORY_REGION2, &region) != 0) return (int)refuse("KVM_SET_USER_MEMORY_REGION2");
  vm = made;
  return 0;
}

static int64_t convert(uint64_t ops, uint64_t size, int punch) {
  if (prepare() != 0) return -1;
  const uint64_t start = now_ns();
  for (uint64_t i = 0; i < ops; i++) {
    struct memory_attributes range = {.address = GPA + at, .size = size, .attributes = to_private ? PRIVATE : 0};
    if (ioctl(vm, SET_MEMORY_ATTRIBUTES, &range) != 0) return refuse("KVM_SET_MEMORY_ATTRIBUTES");
    if (punch && fallocate(to_private ? shared : private, PUNCH_HOLE | KEEP_SIZE, (off_t)at, (off_t)size) != 0)
      return refuse("fallocate, punch hole");
    at += size;
    if (at + size <= WHOLE) continue;
    at = 0;
    to_private = !to_private;
  }
  return (int64_t)(now_ns() - start);
}

int64_t batch_convert(uint64_t ops, uint64_t size) { return convert(ops, size, 1); }

int64_t batch_convert_keep(uint64_t ops, uint64_t size) { return convert(ops, size, 0); }
