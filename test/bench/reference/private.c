/* Bulk work on guest private memory: pages of a guest_memfd, and the memslots that bind it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm.h"
#include "reference.h"

#define KEEP_SIZE 1
#define PUNCH_HOLE 2
#define SLOT 5u
#define SLOT_GPA 0x10000000u

/* Without vCPUs, so that nobody has to be told of a slot that goes away. */
static int vm = -1;

static int make_guest_memfd(uint64_t size) {
  if (vm < 0) vm = make_vm();
  if (vm < 0) return -1;
  struct create_guest_memfd create = {.size = size, .flags = GUEST_MEMFD_MMAP | GUEST_MEMFD_INIT_SHARED};
  const int fd = ioctl(vm, CREATE_GUEST_MEMFD, &create);
  if (fd < 0) refuse("KVM_CREATE_GUEST_MEMFD");
  return fd;
}

int64_t batch_allocate(uint64_t ops, uint64_t size) {
  const int fd = make_guest_memfd(size);
  if (fd < 0) return -1;
  const uint64_t start = now_ns();
  for (uint64_t i = 0; i < ops; i++) {
    if (fallocate(fd, KEEP_SIZE, 0, (off_t)size) != 0) return refuse("fallocate");
    if (fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 0, (off_t)size) != 0) return refuse("fallocate, punch hole");
  }
  const uint64_t took = now_ns() - start;
  close(fd);
  return (int64_t)took;
}

int64_t batch_memslot(uint64_t ops, uint64_t size) {
  const int fd = make_guest_memfd(size);
  if (fd < 0) return -1;
  const uint64_t start = now_ns();
  for (uint64_t i = 0; i < ops; i++) {
    struct region region = {
        .slot = SLOT, .flags = MEM_GUEST_MEMFD, .gpa = SLOT_GPA, .size = size, .guest_memfd = (uint32_t)fd};
    if (ioctl(vm, SET_USER_MEMORY_REGION2, &region) != 0) return refuse("KVM_SET_USER_MEMORY_REGION2");
    struct region gone = {.slot = SLOT};
    if (ioctl(vm, SET_USER_MEMORY_REGION2, &gone) != 0) return refuse("KVM_SET_USER_MEMORY_REGION2, delete");
  }
  const uint64_t took = now_ns() - start;
  close(fd);
  return (int64_t)took;
}
