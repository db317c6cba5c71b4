/* One batch of work in C: what each item is measured against. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/*
 * Makes `ops` operations of `size` bytes and returns how many nanoseconds they took, set-up not counted; or
 * calls `refuse` and returns its value.
 */
typedef int64_t batch_fn(uint64_t ops, uint64_t size);

batch_fn batch_ioctl, batch_ioctl_threaded;
batch_fn batch_run, batch_run_thread;
batch_fn batch_allocate;
batch_fn batch_memslot;
batch_fn batch_convert, batch_convert_keep;
batch_fn batch_copy_out, batch_copy_in, batch_fill;
batch_fn batch_map;

/* Keeps "what: the text of errno" as the reason why there is no result. */
int64_t refuse(const char* what);

uint64_t now_ns(void);

/* /dev/kvm, opened once, and a new VM. -1 when there is none, with the reason kept. */
int the_kvm(void);
int make_vm(void);

/* A memfd of `size` bytes, or -1. */
int make_memfd(uint64_t size);
