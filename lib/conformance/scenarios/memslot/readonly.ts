/** KVM_MEM_READONLY under a running guest. */
import type { Context } from '../../context.ts';
import { PAGE } from '../../file-kinds.ts';
import { halted } from '../../guest.ts';
import type { Needs } from '../../needs.ts';
import { topic } from '../../scenario.ts';
import { GPA, mmio, READONLY } from '../../slots.ts';

const SW_PROTECTED: Needs = { vmType: 'sw-protected' };

export const memslotReadonly = topic(
  'memslot/readonly',
  { promise: 'Documentation/virt/kvm/api.rst: KVM_MEM_READONLY; before Linux 6.1', needs: { guest: true } },
  (scenario) => {
    const each = (behaviour: string, body: (t: Context) => Promise<void>): void => {
      scenario(behaviour, body);
      scenario(`${behaviour}/sw_protected_vm`, { needs: SW_PROTECTED }, body);
    };

    each('guest_reads_it', async (t) => {
      const guest = t.guest();
      const rom = t.anonymous(2 * PAGE);
      rom.fill(0x3c);
      guest.vm.addMemslot({ slot: 1, gpa: GPA, size: 2 * PAGE, backing: rom, flags: READONLY });
      await guest.run((g) => g.check(GPA, 2 * PAGE, 0x3c));
    });

    each('write_is_an_MMIO_exit_and_changes_nothing', async (t) => {
      const guest = t.guest();
      const rom = t.anonymous(2 * PAGE);
      rom.fill(0x3c);
      guest.vm.addMemslot({ slot: 1, gpa: GPA, size: 2 * PAGE, backing: rom, flags: READONLY });
      const run = await guest.start((g) => {
        g.report(0, g.load(GPA + PAGE, { size: 1 }));
        g.store(GPA + PAGE + 4, 0x11223344n, { size: 4 });
        g.report(1, g.load(GPA + PAGE + 4, { size: 4 }));
      });
      mmio(t, run, { gpa: GPA + PAGE + 4, length: 4, isWrite: true });
      if (run.last.name === 'KVM_EXIT_MMIO')
        t.same([...run.last.data.subarray(0, 4)], [0x44, 0x33, 0x22, 0x11], 'what the guest wanted to write');
      t.same(halted(await guest.resume()).get(1), 0x3c3c3c3cn, 'what the guest reads afterwards');
      t.filledWith(rom.read(0, 2 * PAGE), 0x3c, "the host's memory");
    });

    each('host_changes_what_the_guest_reads', async (t) => {
      const guest = t.guest();
      const rom = t.anonymous(PAGE);
      guest.vm.addMemslot({ slot: 1, gpa: GPA, size: PAGE, backing: rom, flags: READONLY });
      for (const value of [5n, 6n]) {
        rom.writeU64(8, value);
        t.same((await guest.run((g) => g.report(0, g.load(GPA + 8)))).get(0), value, 'what the guest reads');
      }
    });

    each('neighbour_stays_writable', async (t) => {
      const guest = t.guest();
      const [rom, ram] = [t.anonymous(PAGE), t.anonymous(PAGE)];
      guest.vm.addMemslot({ slot: 1, gpa: GPA, size: PAGE, backing: rom, flags: READONLY });
      guest.vm.addMemslot({ slot: 2, gpa: GPA + PAGE, size: PAGE, backing: ram });
      await guest.run((g) => g.store(GPA + PAGE, 0x77));
      t.same(ram.readU64(0), 0x77n, 'what the guest wrote behind the read-only slot');
    });
  },
);
