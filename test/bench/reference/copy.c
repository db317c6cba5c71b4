/* memcpy and memset between a shared mapping of a memfd and ordinary memory, both touched before. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "reference.h"

/* Kept between batches of one size, as the other side keeps its own. */
static uint8_t *mapped, *plain;
static uint64_t prepared;

static int64_t prepare(uint64_t size) {
  if (prepared == size) return 0;
  if (prepared != 0) {
    munmap(mapped, prepared);
    free(plain);
    prepared = 0;
  }
  const int fd = make_memfd(size);
  if (fd < 0) return -1;
  mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (mapped == MAP_FAILED) return refuse("mmap");
  /* calloc, as the JavaScript engine allocates, so that huge pages and alignment are alike. */
  plain = calloc(size, 1);
  if (plain == NULL) return refuse("calloc");
  memset(plain, 1, size);
  memset(mapped, 2, size);
  prepared = size;
  return 0;
}

/* Nothing may be left out because its result is not used. */
#define EFFECT() __asm__ volatile("" ::: "memory")

int64_t batch_copy_out(uint64_t ops, uint64_t size) {
  if (prepare(size) < 0) return -1;
  const uint64_t start = now_ns();
  for (uint64_t i = 0; i < ops; i++) {
    memcpy(plain, mapped, size);
    EFFECT();
  }
  return (int64_t)(now_ns() - start);
}

int64_t batch_copy_in(uint64_t ops, uint64_t size) {
  if (prepare(size) < 0) return -1;
  const uint64_t start = now_ns();
  for (uint64_t i = 0; i < ops; i++) {
    memcpy(mapped, plain, size);
    EFFECT();
  }
  return (int64_t)(now_ns() - start);
}

int64_t batch_fill(uint64_t ops, uint64_t size) {
  if (prepare(size) < 0) return -1;
  const uint64_t start = now_ns();
  for (uint64_t i = 0; i < ops; i++) {
    memset(mapped, (int)(i & 0xff), size);
    EFFECT();
  }
  return (int64_t)(now_ns() - start);
}
