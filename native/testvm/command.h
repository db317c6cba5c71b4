// The command: started, its input and outputs carried, its end told.
#ifndef PRIVMEM_TESTVM_COMMAND_H
#define PRIVMEM_TESTVM_COMMAND_H

#include "talk.h"

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

#endif
