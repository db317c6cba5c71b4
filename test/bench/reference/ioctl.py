"""The same protocol as the C program, for the cheapest ioctl through Python's fcntl module."""

import fcntl
import os
import signal
import sys
import time

GET_API_VERSION = 0xAE00

signal.signal(signal.SIGINT, signal.SIG_DFL)


def batch(kvm, ops):
    ioctl = fcntl.ioctl
    start = time.perf_counter_ns()
    for _ in range(ops):
        if ioctl(kvm, GET_API_VERSION, 0) != 12:
            raise OSError("not KVM")
    return time.perf_counter_ns() - start


def main():
    kvm = None
    for line in iter(sys.stdin.readline, ""):
        try:
            if kvm is None:
                kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
            print(batch(kvm, int(line.split()[1])), flush=True)
        except OSError as error:
            print("unsupported", error, flush=True)


main()
