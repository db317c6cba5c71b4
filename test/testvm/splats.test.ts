import { describe, expect, test } from 'vitest';
import { findPanic, findSplats } from '../../lib/testvm/splats.ts';

/** As a console shows it: times, carriage returns. */
const shown = (...lines: string[]): string =>
  lines.map((line, i) => `[    ${(1 + i / 1000).toFixed(6)}] ${line}\r\n`).join('');

const kinds = (text: string): string[] => findSplats(text).map(({ kind, severity }) => `${severity} ${kind}`);

describe('reports of the kernel about itself', () => {
  test('an ordinary boot has none', () => {
    const text = shown(
      'Linux version 7.3.4 (privmem@test)',
      'kvm_intel: VMX not supported by CPU 0',
      'overlayfs: ...falling back to redirect_dir=nofollow.',
      'Warning: unable to open an initial console.',
      'debug: a bug: none',
    );
    expect(findSplats(text)).toEqual([]);
    expect(findPanic(text)).toBeUndefined();
  });

  test.each([
    ['warned warn', 'WARNING: CPU: 0 PID: 71 at virt/kvm/guest_memfd.c:100 kvm_gmem_release+0x1/0x2'],
    ['warned warn', 'WARNING: virt/kvm/guest_memfd.c:100 at kvm_gmem_release+0x1/0x2, CPU#0: node/71'],
    ['warned lockdep', 'WARNING: possible circular locking dependency detected'],
    ['warned lockdep', 'WARNING: possible recursive locking detected'],
    ['warned lockdep', 'WARNING: inconsistent lock state'],
    ['warned lockdep', 'WARNING: suspicious RCU usage'],
    ['warned lockdep', 'WARNING: bad unlock balance detected!'],
    ['warned lockdep', 'WARNING: lock held when returning to user space!'],
    ['warned lockdep', '[ BUG: Invalid wait context ]'],
    ['warned bug', 'BUG: sleeping function called from invalid context at mm/util.c:1'],
    ['warned bug', 'BUG: KCSAN: data-race in a / b'],
    ['warned lockup', 'watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [node:71]'],
    ['warned rcu', 'rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:'],
    ['warned hung', 'INFO: task node:71 blocked for more than 120 seconds.'],
    ['oopsed kasan', 'BUG: KASAN: slab-use-after-free in kvm_gmem_fault+0x1/0x2'],
    ['oopsed ubsan', 'UBSAN: array-index-out-of-bounds in virt/kvm/kvm_main.c:1:2'],
    ['oopsed oops', 'BUG: kernel NULL pointer dereference, address: 0000000000000000'],
    ['oopsed oops', 'BUG: unable to handle page fault for address: ffffffffdeadbeef'],
    ['oopsed oops', 'kernel BUG at virt/kvm/guest_memfd.c:100!'],
    ['oopsed oops', 'Oops: general protection fault, probably for non-canonical address 0x1: 0000 [#1] SMP'],
    ['oopsed oops', 'general protection fault, probably for non-canonical address 0x1: 0000 [#1] PREEMPT SMP'],
    ['oopsed oops', 'Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000'],
    ['oopsed oops', 'Internal error: Oops: 0000000096000044 [#1] SMP'],
    ['oopsed bug', 'BUG: Bad page state in process node  pfn:1234'],
    ['oopsed bug', 'list_del corruption. prev->next should be ffff'],
  ])('%s: %s', (expected, line) => {
    expect(kinds(shown('before', line, 'after'))).toEqual([expected]);
  });

  test('the lines of one oops are one report; its end lets the next begin', () => {
    const one = [
      'BUG: kernel NULL pointer dereference, address: 0000000000000000',
      '#PF: supervisor write access in kernel mode',
      'Oops: Oops: 0002 [#1] SMP',
      'RIP: 0010:lkdtm_EXCEPTION+0x5/0x10',
      '---[ end trace 0000000000000000 ]---',
    ];
    const found = findSplats(shown('x', ...one, 'y', ...one, 'z'));
    expect(found.map(({ title }) => title)).toEqual([one[0], one[0]]);
    expect(found[0]?.text.split('\n')).toHaveLength(one.length);
    expect(found[0]?.text).not.toContain('\r');
  });

  test('two reports without an end between them are two', () => {
    expect(
      kinds(shown('WARNING: possible recursive locking detected', '----', 'BUG: KASAN: wild-access in f')),
    ).toEqual(['warned lockdep', 'oopsed kasan']);
  });

  test('a panic says its message', () => {
    expect(
      findPanic(shown('x', 'Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b', 'y')),
    ).toMatchObject({
      message: 'Attempted to kill init! exitcode=0x0000000b',
    });
    expect(findPanic(shown('a line about a Kernel panic - not syncing: x'))).toBeUndefined();
  });
});
