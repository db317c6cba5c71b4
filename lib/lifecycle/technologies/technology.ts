/** What protects guest memory, as far as a lifecycle has to know. */
import type { Kvm } from '../../kvm/kvm.ts';
import type { Vm } from '../../kvm/vm.ts';

export interface Technology {
  readonly name: string;
  /** One line for people. */
  readonly summary: string;
  /** Makes a VM of this technology, ready for its guest's requests. */
  createVm(kvm: Kvm): Vm;
  /**
   * How initial contents get in. `host-writes`: the host writes the file itself. `guest-accepts`: nobody outside can fill a private page,
   * so the guest starts from shared memory and carries it over.
   */
  readonly initialContents: 'host-writes' | 'guest-accepts';
  /**
   * Who starts a conversion. `host`: there is no conversion in the technology's sense, the host gives a range up by punching it.
   * `hypercall`: the guest asks by KVM_HC_MAP_GPA_RANGE, userspace carries it out.
   */
  readonly conversion: 'host' | 'hypercall';
}
