/* KVM_RUN of a guest that does nothing but write to a port, on the caller's thread and on one of the vCPU's own. */
#include "reference.h"

#if !defined(__x86_64__)

#include <errno.h>

int64_t batch_run(uint64_t ops, uint64_t size) {
  (void)ops, (void)size, errno = ENOSYS;
  return refuse("the guest is x86 code");
}

int64_t batch_run_thread(uint64_t ops, uint64_t size) { return batch_run(ops, size); }

#else

#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kvm.h"

#define CODE_GPA 0x1000u
#define PAGE 4096u

/* mov al, 5; out 0x10, al; jmp to the out */
static const uint8_t code[] = {0xb0, 0x05, 0xe6, 0x10, 0xeb, 0xfa};

static int vm = -1, vcpu = -1;
static volatile uint32_t* exit_reason;

static int64_t set_registers(void) {
  uint64_t regs[18] = {0}, sregs[39];
  regs[16] = CODE_GPA; /* rip */
  regs[17] = 2;        /* rflags: the bit that is always set */
  if (ioctl(vcpu, GET_SREGS, sregs) != 0) return refuse("KVM_GET_SREGS");
  /* cs comes first: base, limit, selector. Real mode at base 0. */
  sregs[0] = 0;
  memset((uint8_t*)sregs + 12, 0, 2);
  if (ioctl(vcpu, SET_SREGS, sregs) != 0) return refuse("KVM_SET_SREGS");
  return ioctl(vcpu, SET_REGS, regs) == 0 ? 0 : refuse("KVM_SET_REGS");
}

static int64_t make_guest(void) {
  if (exit_reason != NULL) return 0;
  if (vm < 0) vm = make_vm();
  if (vm < 0) return -1;
  void* memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return refuse("mmap");
  memcpy(memory, code, sizeof code);
  struct region region = {.slot = 0, .gpa = CODE_GPA, .size = PAGE, .hva = (uintptr_t)memory};
  if (ioctl(vm, SET_USER_MEMORY_REGION, &region) != 0) return refuse("KVM_SET_USER_MEMORY_REGION");
  if (vcpu < 0) vcpu = ioctl(vm, CREATE_VCPU, 0);
  if (vcpu < 0) return refuse("KVM_CREATE_VCPU");
  if (set_registers() < 0) return -1;
  const int length = ioctl(the_kvm(), GET_VCPU_MMAP_SIZE, 0);
  uint8_t* page = mmap(NULL, (size_t)length, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  if (page == MAP_FAILED) return refuse("mmap of the vCPU");
  exit_reason = (volatile uint32_t*)(page + EXIT_REASON_OFFSET);
  return 0;
}

int64_t batch_run(uint64_t ops, uint64_t size) {
  (void)size;
  if (make_guest() < 0) return -1;
  const uint64_t start = now_ns();
  for (uint64_t i = 0; i < ops; i++) {
    if (ioctl(vcpu, RUN, 0ul) != 0 || *exit_reason != EXIT_IO) return refuse("KVM_RUN");
  }
  return (int64_t)(now_ns() - start);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static enum { IDLE, WANTED, DONE, OVER } state = IDLE;
static int result;

static void* runner(void* unused) {
  (void)unused;
  pthread_mutex_lock(&mutex);
  while (1) {
    while (state != WANTED && state != OVER) pthread_cond_wait(&changed, &mutex);
    if (state == OVER) break;
    pthread_mutex_unlock(&mutex);
    const int got = ioctl(vcpu, RUN, 0ul);
    pthread_mutex_lock(&mutex);
    result = got;
    state = DONE;
    pthread_cond_broadcast(&changed);
  }
  pthread_mutex_unlock(&mutex);
  return NULL;
}

static int run_there(void) {
  pthread_mutex_lock(&mutex);
  state = WANTED;
  pthread_cond_broadcast(&changed);
  while (state != DONE) pthread_cond_wait(&changed, &mutex);
  state = IDLE;
  const int got = result;
  pthread_mutex_unlock(&mutex);
  return got;
}

static void end_runner(pthread_t thread) {
  pthread_mutex_lock(&mutex);
  state = OVER;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&mutex);
  pthread_join(thread, NULL);
  state = IDLE;
}

int64_t batch_run_thread(uint64_t ops, uint64_t size) {
  (void)size;
  pthread_t thread;
  if (make_guest() < 0) return -1;
  if (pthread_create(&thread, NULL, runner, NULL) != 0) return refuse("pthread_create");
  run_there(); /* the thread is there now */
  const uint64_t start = now_ns();
  uint64_t done = 0;
  while (done < ops && run_there() == 0 && *exit_reason == EXIT_IO) done++;
  const uint64_t took = now_ns() - start;
  const int64_t answer = done == ops ? (int64_t)took : refuse("KVM_RUN");
  end_runner(thread); /* the other batches have one thread */
  return answer;
}

#endif
