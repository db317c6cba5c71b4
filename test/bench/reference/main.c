/*
 * Reads lines "batch operations bytes", answers each with the nanoseconds taken or with "unsupported" and a reason.
 * Ends with its input, so that it does not outlive whoever started it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "reference.h"

static char reason[256];

int64_t refuse(const char* what) {
  snprintf(reason, sizeof reason, "%s: %s", what, strerror(errno));
  return -1;
}

uint64_t now_ns(void) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static const struct {
  const char* name;
  batch_fn* run;
} batches[] = {
    {"ioctl", batch_ioctl},       {"ioctl-threaded", batch_ioctl_threaded},
    {"run", batch_run},           {"run-thread", batch_run_thread},
    {"allocate", batch_allocate}, {"memslot", batch_memslot},
    {"convert", batch_convert},   {"convert-keep", batch_convert_keep},
    {"copy-out", batch_copy_out}, {"copy-in", batch_copy_in},
    {"fill", batch_fill},         {"map", batch_map},
};

static batch_fn* find(const char* name) {
  for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
    if (strcmp(batches[i].name, name) == 0) return batches[i].run;
  }
  return NULL;
}

int main(void) {
  char line[128], name[32];
  unsigned long long ops, size;
  setvbuf(stdout, NULL, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin) != NULL) {
    batch_fn* run = sscanf(line, "%31s %llu %llu", name, &ops, &size) == 3 ? find(name) : NULL;
    if (run == NULL) {
      printf("unsupported no such batch\n");
      continue;
    }
    const int64_t took = run(ops, size);
    if (took < 0) {
      printf("unsupported %s\n", reason);
    } else {
      printf("%lld\n", (long long)took);
    }
  }
  return 0;
}
