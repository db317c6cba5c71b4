/** What protects guest memory, as far as a lifecycle has to know. */
import type { Kvm } from '../../kvm/kvm.ts';
import type { Vm } from '../../kvm/vm.ts';

export interface Technology {
  readonly name: string;
  /** One line for people. */
  readonly summary: string;
  /** Makes a VM of this technology. */
  createVm(kvm: Kvm): Vm;
  /** How initial contents get in while the file is bound: by the host's own writes, or not at all. */
  readonly initialContents: 'host-writes' | 'none';
  /**
   * What happens to the contents of a range when it is converted. `punched`: there is no conversion, so the range is given up by punching
   * a hole and filled afresh.
   */
  readonly conversion: 'punched';
}
