// What the first process was told, and how it speaks: lines on the control port, words on the console.
#ifndef PRIVMEM_TESTVM_TALK_H
#define PRIVMEM_TESTVM_TALK_H

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

#endif
