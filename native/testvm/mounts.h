// The host's root as /, layers and a writable layer over it, and what a system has mounted besides.
#ifndef PRIVMEM_TESTVM_MOUNTS_H
#define PRIVMEM_TESTVM_MOUNTS_H

#include "talk.h"

static long make_directory(const char* path) { return SYS(mkdirat, AT_FDCWD_, path, 0755); }

static long mount_at(const char* source, const char* target, const char* type, long flags, const char* options) {
  make_directory(target);
  return SYS(mount, source, target, type, flags, options);
}

#define P9 "trans=virtio,version=9p2000.L,msize=512000,"

static void mount_root(void) {
  long error = -E_NODEV;
  error = mount_at("root", "/host", "9p", MS_RDONLY_, P9 "cache=loose");
  if (error < 0)
    fail("the host's root cannot be mounted: does the kernel have CONFIG_9P_FS and CONFIG_NET_9P_VIRTIO?", error);
  error = mount_at("tmpfs", "/rw", "tmpfs", 0, "mode=0755,size=75%");
  if (error < 0) fail("tmpfs cannot be mounted: does the kernel have CONFIG_TMPFS?", error);
  make_directory("/rw/upper");
  make_directory("/rw/work");
  struct line options = {.size = 0};
  put(&options, "lowerdir=");
  for (size_t i = 0; i < layer_count; i++) {
    struct line path = {.size = 0};
    put(&path, "/layers/");
    put(&path, layers[i]);
    error = mount_at(layers[i], path.text, "9p", MS_RDONLY_, P9 "cache=loose");
    if (error < 0) fail("a layer over the root cannot be mounted", error);
    put(&options, path.text);
    put(&options, ":");
  }
  put(&options, "/host,upperdir=/rw/upper,workdir=/rw/work");
  error = mount_at("overlay", "/new", "overlay", 0, options.text);
  if (error < 0) {
    if (layer_count > 0) fail("layers over the root need overlayfs: does the kernel have CONFIG_OVERLAY_FS?", error);
    struct line line = {.size = 0};
    put(&line, "no overlayfs (errno ");
    put_number(&line, -error);
    put(&line, "): only /run, /dev/shm and the shares are writable; CONFIG_OVERLAY_FS makes the rest writable");
    say("note", line.text);
    error = SYS(mount, "/host", "/new", "", MS_MOVE_, "");
    if (error < 0) fail("the host's root cannot be moved", error);
  }
}

static void mount_rest(void) {
  const long error = SYS(mount, "/dev", "/new/dev", "", MS_MOVE_, "");
  if (error < 0) fail("/dev cannot be moved into the host's root", error);
  SYS(chdir, "/new");
  SYS(mount, ".", "/", "", MS_MOVE_, "");
  SYS(chroot, ".");
  SYS(chdir, "/");
  const long quiet = MS_NOSUID_ | MS_NODEV_ | MS_NOEXEC_;
  mount_at("proc", "/proc", "proc", quiet, "");
  mount_at("sysfs", "/sys", "sysfs", quiet, "");
  mount_at("tmpfs", "/run", "tmpfs", MS_NOSUID_ | MS_NODEV_, "mode=0755");
  mount_at("devpts", "/dev/pts", "devpts", MS_NOSUID_ | MS_NOEXEC_, "mode=0620,ptmxmode=0666");
  mount_at("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID_ | MS_NODEV_, "mode=1777");
  // These depend on the kernel's configuration; without them there is nothing to mount.
  mount_at("hugetlbfs", "/dev/hugepages", "hugetlbfs", 0, "");
  SYS(mount, "debugfs", "/sys/kernel/debug", "debugfs", quiet, "");
  SYS(mount, "tracefs", "/sys/kernel/tracing", "tracefs", quiet, "");
  SYS(mount, "cgroup2", "/sys/fs/cgroup", "cgroup2", quiet, "");
  SYS(symlinkat, "/proc/self/fd", AT_FDCWD_, "/dev/fd");
  SYS(symlinkat, "/proc/self/fd/0", AT_FDCWD_, "/dev/stdin");
  SYS(symlinkat, "/proc/self/fd/1", AT_FDCWD_, "/dev/stdout");
  SYS(symlinkat, "/proc/self/fd/2", AT_FDCWD_, "/dev/stderr");
}

static void mount_shares(void) {
  for (size_t i = 0; i < share_count; i++) {
    char tag[32];
    size_t n = 0;
    while (shares[i][n] != '=' && shares[i][n] != '\0' && n < sizeof tag - 1) {
      tag[n] = shares[i][n];
      n++;
    }
    tag[n] = '\0';
    const char* path = shares[i] + n + 1;
    const long error = mount_at(tag, path, "9p", MS_NOSUID_ | MS_NODEV_, P9 "cache=none");
    if (error >= 0) continue;
    struct line line = {.size = 0};
    put(&line, "the share ");
    put(&line, path);
    put(&line, " cannot be mounted");
    fail(line.text, error);
  }
}

#endif
