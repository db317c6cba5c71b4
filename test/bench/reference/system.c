/* /dev/kvm, the cheapest request there is, and the address space. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kvm.h"
#include "reference.h"

#define API_VERSION 12

int the_kvm(void) {
  static int kvm = -1;
  if (kvm < 0) kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) refuse("/dev/kvm");
  return kvm;
}

int make_vm(void) {
  if (the_kvm() < 0) return -1;
  const int vm = ioctl(the_kvm(), CREATE_VM, 0);
  if (vm < 0) refuse("KVM_CREATE_VM");
  return vm;
}

int make_memfd(uint64_t size) {
  const int fd = (int)syscall(SYS_memfd_create, "reference", 1u);
  if (fd >= 0 && ftruncate(fd, (off_t)size) == 0) return fd;
  refuse("memfd_create");
  return -1;
}

int64_t batch_ioctl(uint64_t ops, uint64_t size) {
  (void)size;
  const int kvm = the_kvm();
  if (kvm < 0) return -1;
  const uint64_t start = now_ns();
  for (uint64_t i = 0; i < ops; i++) {
    if (ioctl(kvm, GET_API_VERSION, 0ul) != API_VERSION) return refuse("KVM_GET_API_VERSION");
  }
  return (int64_t)(now_ns() - start);
}

static pthread_mutex_t over = PTHREAD_MUTEX_INITIALIZER;

static void* sleep_till_over(void* unused) {
  (void)unused;
  pthread_mutex_lock(&over);
  pthread_mutex_unlock(&over);
  return NULL;
}

/* The same beside a thread that sleeps: descriptors are then shared, and every call has to count its use of one. */
int64_t batch_ioctl_threaded(uint64_t ops, uint64_t size) {
  pthread_t sleeper;
  pthread_mutex_lock(&over);
  const int made = pthread_create(&sleeper, NULL, sleep_till_over, NULL);
  const int64_t took = made == 0 ? batch_ioctl(ops, size) : refuse("pthread_create");
  pthread_mutex_unlock(&over);
  if (made == 0) pthread_join(sleeper, NULL);
  return took;
}

int64_t batch_map(uint64_t ops, uint64_t size) {
  const int fd = make_memfd(size);
  if (fd < 0) return -1;
  const uint64_t start = now_ns();
  for (uint64_t i = 0; i < ops; i++) {
    void* at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED || munmap(at, size) != 0) return refuse("mmap");
  }
  const uint64_t took = now_ns() - start;
  close(fd);
  return (int64_t)took;
}
