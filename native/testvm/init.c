// The first process of a test kernel: makes the host's root visible with a writable layer over it, runs one command
// there, carries its input and outputs, and says how it ended. Compiled on the spot by lib/testvm/init-program.ts,
// without a C library.
//
// What it is told lies in /privmem.conf of the initramfs: strings, each a letter and a value, each ended by a NUL:
//   n nonce    d directory    a argument    e NAME=value    s tag=path (writable share)    i (input is wanted)    h
//   hostname
// What it says goes to the control port, a line each, the nonce first:
//   ready RELEASE MACHINE | note TEXT | fault TEXT | pong | exit STATUS STDOUT-BYTES STDERR-BYTES
// What it hears there: `input N` (the input ends after N bytes), `ping`, `bye` (everything has arrived).
#include "command.h"
#include "mounts.h"
#include "talk.h"

// Servers of the command's own, on 127.0.0.1.
static void loopback_up(void) {
  struct {
    char name[16];
    short flags;
    char rest[22];
  } request = {.name = "lo", .flags = 1 /* IFF_UP */};
  const long fd = SYS(socket, 2 /* AF_INET */, 2 /* SOCK_DGRAM */, 0);
  if (fd < 0) return;
  SYS(ioctl, fd, 0x8914 /* SIOCSIFFLAGS */, &request);
  SYS(close, fd);
}

static void raise_limit(int which, uint64_t value) {
  const uint64_t limit[2] = {value, value};
  SYS(prlimit64, 0, which, limit, 0);
}

static void say_ready(void) {
  static char names[6][65];
  SYS(uname, names);
  struct line line = {.size = 0};
  put(&line, names[2]);
  put(&line, " ");
  put(&line, names[4]);
  say("ready", line.text);
}

void start(void) {
  const long error = mount_at("devtmpfs", "/dev", "devtmpfs", 0, "");
  if (error < 0) fail("devtmpfs cannot be mounted: does the kernel have CONFIG_DEVTMPFS?", error);
  take_config();
  open_ports();
  mount_root();
  mount_rest();
  mount_shares();
  loopback_up();
  SYS(sethostname, hostname, length(hostname));
  raise_limit(RLIMIT_NOFILE_, 1 << 16);
  raise_limit(RLIMIT_MEMLOCK_, UINT64_MAX);
  const long gone = SYS(chdir, directory);
  if (gone < 0) fail("the current directory is not visible in the test kernel", gone);
  say_ready();
  run_command();
  for (int tries = 0; tries < 500 && !bye; tries++) {
    struct pollfd_ poll = {ports[CONTROL], POLLIN_, 0};
    const struct timespec_ wait = {0, 20000000};
    SYS(ppoll, &poll, 1, &wait, 0, 8);
    if (poll.revents & POLLIN_) {
      const long got = SYS(read, ports[CONTROL], block, BLOCK);
      if (got > 0) hear(block, got);
    } else if (poll.revents) {
      sleep_ms(20);
    }
  }
  end_machine();
}
