/** The root of the page tables that KVM keeps for a vCPU: only whether it is there, and still in force. arch/x86/kvm/mmu/mmu.c */

type State = 'none' | 'loaded' | 'obsolete';

export class Root {
  readonly #reloads: boolean;
  #state: State = 'none';

  /** @param reloads loading sees that a root is obsolete, and takes a new one: kvm_mmu_reload since 6.16. Before, only KVM_RUN does. */
  constructor(reloads: boolean) {
    this.#reloads = reloads;
  }

  get isObsolete(): boolean {
    return this.#state === 'obsolete';
  }

  load(): void {
    if (this.#state === 'none' || this.#reloads) this.#state = 'loaded';
  }

  /** By KVM_RUN. */
  reload(): void {
    this.#state = 'loaded';
  }

  /** The next one to load it finds none: kvm_mmu_reset_context. */
  drop(): void {
    this.#state = 'none';
  }

  /** All page tables of the VM are to go: kvm_mmu_zap_all_fast. */
  outdate(): void {
    if (this.#state === 'loaded') this.#state = 'obsolete';
  }
}
