/* What is needed of linux/kvm.h, by hand: the headers of an old distribution know no guest_memfd. */
#pragma once
#include <stdint.h>

#define KVM_REQUEST(direction, nr, size) \
  (((unsigned long)(direction) << 30) | ((unsigned long)(size) << 16) | 0xAE00ul | (nr))
#define NONE 0
#define WRITE 1
#define READ 2

#define GET_API_VERSION KVM_REQUEST(NONE, 0x00, 0)
#define CREATE_VM KVM_REQUEST(NONE, 0x01, 0)
#define GET_VCPU_MMAP_SIZE KVM_REQUEST(NONE, 0x04, 0)
#define CREATE_VCPU KVM_REQUEST(NONE, 0x41, 0)
#define SET_USER_MEMORY_REGION KVM_REQUEST(WRITE, 0x46, 32)
#define SET_USER_MEMORY_REGION2 KVM_REQUEST(WRITE, 0x49, 160)
#define RUN KVM_REQUEST(NONE, 0x80, 0)
#define SET_REGS KVM_REQUEST(WRITE, 0x82, 144)
#define GET_SREGS KVM_REQUEST(READ, 0x83, 312)
#define SET_SREGS KVM_REQUEST(WRITE, 0x84, 312)
#define SET_MEMORY_ATTRIBUTES KVM_REQUEST(WRITE, 0xd2, 32)
#define CREATE_GUEST_MEMFD KVM_REQUEST(READ | WRITE, 0xd4, 64)

#define EXIT_IO 2u
#define EXIT_REASON_OFFSET 8

#define MEM_GUEST_MEMFD 4u
#define PRIVATE 8u
#define GUEST_MEMFD_MMAP 1u
#define GUEST_MEMFD_INIT_SHARED 2u

/* struct kvm_userspace_memory_region2; the older request takes its first 32 bytes. */
struct region {
  uint32_t slot, flags;
  uint64_t gpa, size, hva, guest_memfd_offset;
  uint32_t guest_memfd, pad1;
  uint64_t pad2[14];
};

/* struct kvm_create_guest_memfd */
struct create_guest_memfd {
  uint64_t size, flags, reserved[6];
};

/* struct kvm_memory_attributes */
struct memory_attributes {
  uint64_t address, size, attributes, flags;
};
