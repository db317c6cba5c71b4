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
#include "sys.h"

enum { CONTROL, STDOUT, STDERR, STDIN, PORTS };
static const char* const port_paths[PORTS] = {"/dev/vport0p1", "/dev/vport0p2", "/dev/vport0p3", "/dev/vport0p4"};
static int ports[PORTS] = {-1, -1, -1, -1};

enum { CONFIG_MAX = 1 << 20, LIST_MAX = 1 << 14, BLOCK = 1 << 16 };
static char config[CONFIG_MAX];
static char block[BLOCK];
static char input_block[BLOCK];
static const char* arguments[LIST_MAX];
static const char* environment[LIST_MAX];
static const char* shares[64];
static const char* layers[16];
static size_t argument_count, environment_count, share_count, layer_count;
static const char* nonce = "";
static const char* directory = "/";
static const char* hostname = "privmem";
static int input_wanted;

static void to_console(const char* text) {
  struct line line = {.size = 0};
  put(&line, "<3>privmem-init: ");
  put(&line, text);
  put(&line, "\n");
  const long kmsg = SYS(openat, AT_FDCWD_, "/dev/kmsg", O_WRONLY_ | O_CLOEXEC_, 0);
  if (kmsg >= 0) {
    write_all((int)kmsg, line.text, line.size);
    SYS(close, kmsg);
  } else {
    write_all(1, line.text + 3, line.size - 3);
  }
}

static void say(const char* word, const char* text) {
  struct line line = {.size = 0};
  put(&line, nonce);
  put(&line, " ");
  put(&line, word);
  put(&line, " ");
  put(&line, text);
  // The end of the line is kept even if the text is cut.
  if (line.size >= sizeof line.text - 1) line.size = sizeof line.text - 2;
  line.text[line.size++] = '\n';
  write_all(ports[CONTROL], line.text, line.size);
}

static void end_machine(void) {
  const int restart = 0x01234567;
  for (;;) {
    SYS(reboot, 0xfee1dead, 672274793, restart, 0);
    sleep_ms(1000);
  }
}

// Nothing more can be done: says why, wherever somebody listens, and ends the machine.
static void fail(const char* what, long error) {
  struct line line = {.size = 0};
  put(&line, what);
  if (error < 0) {
    put(&line, ": errno ");
    put_number(&line, -error);
  }
  to_console(line.text);
  if (ports[CONTROL] >= 0) {
    say("fault", line.text);
    sleep_ms(3000);
  }
  end_machine();
}

static long make_directory(const char* path) { return SYS(mkdirat, AT_FDCWD_, path, 0755); }

static long mount_at(const char* source, const char* target, const char* type, long flags, const char* options) {
  make_directory(target);
  return SYS(mount, source, target, type, flags, options);
}

static void take_config(void) {
  const long fd = SYS(openat, AT_FDCWD_, "/privmem.conf", O_RDONLY_ | O_CLOEXEC_, 0);
  if (fd < 0) fail("/privmem.conf of the initramfs cannot be opened", fd);
  size_t size = 0;
  for (;;) {
    const long got = SYS(read, fd, config + size, CONFIG_MAX - 1 - size);
    if (got <= 0) break;
    size += (size_t)got;
  }
  if (size >= CONFIG_MAX - 1) fail("command and environment are larger than 1 MiB", 0);
  SYS(close, fd);
  // The nonce is not for the command.
  SYS(unlinkat, AT_FDCWD_, "/privmem.conf", 0);
  for (size_t at = 0; at < size; at += length(config + at) + 1) {
    const char* value = config + at + 1;
    switch (config[at]) {
      case 'n':
        nonce = value;
        break;
      case 'd':
        directory = value;
        break;
      case 'h':
        hostname = value;
        break;
      case 'i':
        input_wanted = 1;
        break;
      case 'a':
        if (argument_count < LIST_MAX - 1) arguments[argument_count++] = value;
        break;
      case 'e':
        if (environment_count < LIST_MAX - 1) environment[environment_count++] = value;
        break;
      case 's':
        if (share_count < sizeof shares / sizeof *shares) shares[share_count++] = value;
        break;
      case 'l':
        if (layer_count < sizeof layers / sizeof *layers) layers[layer_count++] = value;
        break;
      default:
        break;
    }
  }
}

static void open_ports(void) {
  const int count = input_wanted ? PORTS : STDIN;
  for (int i = 0; i < count; i++) {
    long fd = -E_NOENT;
    // Ports show up when the driver has shaken hands with the machine.
    for (int tries = 0; tries < 1000 && (fd = SYS(openat, AT_FDCWD_, port_paths[i], O_RDWR_ | O_CLOEXEC_, 0)) < 0;
         tries++)
      sleep_ms(5);
    if (fd < 0) fail("no virtio console ports: does the kernel have CONFIG_VIRTIO_CONSOLE and CONFIG_VIRTIO_PCI?", fd);
    ports[i] = (int)fd;
  }
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

// Only in the child: becomes the command, or says on stderr, as a shell does, why it cannot.
static void become_command(const int in, const int out, const int err) {
  SYS(setsid, 0);
  SYS(dup3, in, 0, 0);
  SYS(dup3, out, 1, 0);
  SYS(dup3, err, 2, 0);
  const char* name = arguments[0];
  long error = -E_NOENT;
  int slash = 0;
  for (size_t i = 0; name[i] != '\0'; i++) slash |= name[i] == '/';
  if (slash) {
    error = SYS(execve, name, arguments, environment);
  } else {
    const char* path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (size_t i = 0; i < environment_count; i++)
      if (starts(environment[i], "PATH=")) path = environment[i] + 5;
    while (*path != '\0') {
      struct line full = {.size = 0};
      while (*path != '\0' && *path != ':') {
        const char one[2] = {*path++, '\0'};
        put(&full, one);
      }
      if (*path == ':') path++;
      put(&full, full.size == 0 ? "./" : "/");
      put(&full, name);
      const long now = SYS(execve, full.text, arguments, environment);
      if (now != -E_NOENT) error = now;
    }
  }
  struct line line = {.size = 0};
  put(&line, "privmem vm: ");
  put(&line, name);
  if (error == -E_NOENT) {
    put(&line, ": command not found in the test kernel\n");
  } else {
    put(&line, ": cannot be executed in the test kernel: errno ");
    put_number(&line, -error);
    put(&line, error == -E_ACCES ? " (no permission)\n"
               : error == -8     ? " (not a program for this architecture)\n"
                                 : "\n");
  }
  write_all(2, line.text, line.size);
  SYS(exit, error == -E_NOENT ? 127 : 126);
}

// Lines from the host, as they come in pieces.
static long long input_total = -1;
static int bye;
static void hear(const char* bytes, long size) {
  static char line[64];
  static size_t used;
  for (long i = 0; i < size; i++) {
    if (bytes[i] != '\n') {
      if (used < sizeof line - 1) line[used++] = bytes[i];
      continue;
    }
    line[used] = '\0';
    used = 0;
    if (starts(line, "bye")) bye = 1;
    if (starts(line, "ping")) say("pong", "");
    if (starts(line, "input ")) {
      input_total = 0;
      for (const char* digit = line + 6; *digit >= '0' && *digit <= '9'; digit++)
        input_total = input_total * 10 + (*digit - '0');
    }
  }
}

// Moves what is there from a pipe of the command to a port. False at its end.
static int carry(const int from, const int port, unsigned long* total, int* more) {
  const long got = SYS(read, from, block, BLOCK);
  *more = got > 0;
  if (got == -E_AGAIN || got == -E_INTR) return 1;
  if (got <= 0) return 0;
  write_all(port, block, (size_t)got);
  *total += (unsigned long)got;
  return 1;
}

static int shell_status(const int status) {
  const int signal = status & 0x7f;
  return signal != 0 ? 128 + signal : (status >> 8) & 0xff;
}

static void run_command(void) {
  int in[2] = {-1, -1}, out[2], err[2];
  if (SYS(pipe2, out, O_CLOEXEC_) < 0 || SYS(pipe2, err, O_CLOEXEC_) < 0) fail("no pipes", 0);
  if (input_wanted) {
    if (SYS(pipe2, in, O_CLOEXEC_) < 0) fail("no pipes", 0);
  } else {
    in[0] = (int)SYS(openat, AT_FDCWD_, "/dev/null", O_RDONLY_ | O_CLOEXEC_, 0);
  }
  const long child = SYS(clone, SIGCHLD_, 0, 0, 0, 0);
  if (child < 0) fail("no process for the command", child);
  if (child == 0) become_command(in[0], out[1], err[1]);
  SYS(close, in[0]);
  SYS(close, out[1]);
  SYS(close, err[1]);
  const int set_flags = 4;  // F_SETFL
  const int nr_fcntl =
#if defined(__x86_64__)
      72;
#else
      25;
#endif
  const int unblocked[] = {out[0], err[0], in[1]};
  for (int i = 0; i < 3; i++)
    if (unblocked[i] >= 0) sys6(nr_fcntl, unblocked[i], set_flags, O_NONBLOCK_, 0, 0, 0);

  const int pidfd = (int)SYS(pidfd_open, child, 0);
  int out_open = 1, err_open = 1, ended = 0, status = 0, port_idle = 0;
  unsigned long out_total = 0, err_total = 0;
  long long input_done = 0;
  long pending = 0, pending_at = 0;
  while (!ended) {
    if (in[1] >= 0 && pending == 0 && input_total >= 0 && input_done >= input_total) {
      SYS(close, in[1]);
      in[1] = -1;
    }
    // A port whose host end is not there yet polls as hung up: it is left alone for a moment.
    const short listen = port_idle ? 0 : POLLIN_;
    struct pollfd_ polls[] = {
        {pidfd, POLLIN_, 0},
        {out_open ? out[0] : -1, POLLIN_, 0},
        {err_open ? err[0] : -1, POLLIN_, 0},
        {port_idle ? -1 : ports[CONTROL], listen, 0},
        {!port_idle && in[1] >= 0 && pending == 0 ? ports[STDIN] : -1, listen, 0},
        {pending > 0 ? in[1] : -1, POLLOUT_, 0},
    };
    const long wait_ms = port_idle ? 20 : pidfd < 0 ? 50 : 1000;
    const struct timespec_ wait = {wait_ms / 1000, wait_ms % 1000 * 1000000};
    port_idle = 0;
    SYS(ppoll, polls, sizeof polls / sizeof *polls, &wait, 0, 8);
    int more;
    if (polls[1].revents) out_open = carry(out[0], ports[STDOUT], &out_total, &more);
    if (polls[2].revents) err_open = carry(err[0], ports[STDERR], &err_total, &more);
    if (polls[3].revents & POLLIN_) {
      const long got = SYS(read, ports[CONTROL], block, BLOCK);
      if (got > 0) hear(block, got);
    } else if (polls[3].revents) {
      port_idle = 1;
    }
    if (polls[4].revents & POLLIN_) {
      const long got = SYS(read, ports[STDIN], input_block, BLOCK);
      if (got > 0) {
        input_done += got;
        pending = got;
        pending_at = 0;
      }
    } else if (polls[4].revents) {
      port_idle = 1;
    }
    if (polls[5].revents) {
      const long done = SYS(write, in[1], input_block + pending_at, pending);
      if (done > 0) {
        pending -= done;
        pending_at += done;
      } else if (done != -E_AGAIN && done != -E_INTR) {
        // The command reads no more. What the host still sends is taken and dropped with the machine.
        pending = 0;
        SYS(close, in[1]);
        in[1] = -1;
      }
    }
    // Orphans are everybody's; only the command's end matters.
    for (;;) {
      int how = 0;
      const long pid = SYS(wait4, -1, &how, WNOHANG_, 0);
      if (pid <= 0) break;
      if (pid == child) {
        ended = 1;
        status = how;
      }
    }
  }
  // What it wrote before it ended (a pipe holds no more than 1 MiB); what it left in the background is not waited for.
  const int blocks = (1 << 20) / BLOCK;
  for (int i = 0, more = out_open; more && i < blocks; i++) carry(out[0], ports[STDOUT], &out_total, &more);
  for (int i = 0, more = err_open; more && i < blocks; i++) carry(err[0], ports[STDERR], &err_total, &more);
  // What the kernel does a little later (RCU callbacks, work queues) may still be worth a report. Then a last line on
  // the console: when it has arrived, everything that the kernel printed before has.
  sleep_ms(50);
  to_console("the command has ended");
  struct line line = {.size = 0};
  put_number(&line, shell_status(status));
  put(&line, " ");
  put_number(&line, (long)out_total);
  put(&line, " ");
  put_number(&line, (long)err_total);
  say("exit", line.text);
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
