/** The intents of the script: what each tries, and what the mails of April 2022 worried about there. What a run shows is never written here. */

/** A question of the thread, in our words. */
export interface Worry {
  readonly who: 'Lutomirski' | 'Peng' | 'Lutomirski and Peng';
  readonly text: string;
}

export interface Intent {
  /** What the step tries. */
  readonly tries: string;
  readonly worry?: Worry;
}

const FIRST_STATE: Worry = {
  who: 'Lutomirski',
  text: 'a file that starts readable and writable, before anybody knows the technology, allows from the first moment what makes no sense for TDX. Better a first state in which nothing but bind and close is allowed.',
};

const EARLY_DATA: Worry = {
  who: 'Lutomirski',
  text: 'data written before bind reaches TDX, which must never meet any, and SEV before it is known whether the memory becomes unreclaimable or unmovable.',
};

const NON_EMPTY: Worry = {
  who: 'Lutomirski',
  text: 'what does binding a file that holds data mean on TDX: an error unless it is all zeros, an error if it was ever written? Bind would have to invent semantics. Peng had proposed that bind keeps the data, so that initial contents can be put there, and left it to the architecture.',
};

const WHAT_BIND_DOES: Worry = {
  who: 'Peng',
  text: 'userspace must know exactly what bind does, and it differs: after it, SEV may let userspace reach the file, by mmap or otherwise; TDX must not.',
};

const COMPLETE: Worry = {
  who: 'Peng',
  text: 'a third operation has to declare the initialisation complete before the guest first runs. SEV needs it to check that earlier mappings are gone and to prevent later access; only then is it truly a private file.',
};

const ONE_FILE: Worry = {
  who: 'Lutomirski',
  text: 'how does any of this work where private and shared pages share one address space, as with SEV and pKVM: one big file with both, kept as pages go back and forth, with ordinary I/O and real device DMA into it?',
};

const SWITCH: Worry = {
  who: 'Peng',
  text: "for TDX, and probably SEV, the file holds private memory only, switched on and off by fallocate and hole punching. But the design should allow pKVM's wish: both kinds in one file, switched by mmap and munmap or by mprotect.",
};

const OTHER_SIDE: Worry = {
  who: 'Lutomirski and Peng',
  text: 'with TDX, shared pages are never in the private file: once a private page is switched off, the ordinary shared page takes effect in KVM. Which leaves open what the contents are then, and after the way back.',
};

const SLOTS: Worry = {
  who: 'Lutomirski',
  text: "should memslots differ too? TDX's private memory is in effect a separate space of memslots, SEV's and pKVM's is not.",
};

const ONE_VM: Worry = {
  who: 'Lutomirski',
  text: 'a file should be bound to one VM, or at least to one technology, and its rules should follow from that.',
};

const NOTIFIER: Worry = {
  who: 'Peng',
  text: 'the flow can stay alike for different uses, with different flags at bind; the callbacks between the file and its consumers can be shared by all of them.',
};

export const INTENTS: Readonly<Record<string, Intent>> = {
  create: { tries: 'A VM and the memfile are made.', worry: FIRST_STATE },
  'host-access-before-bind': {
    tries: 'The host maps and writes the file although no VM uses it.',
    worry: EARLY_DATA,
  },
  share: { tries: "An ordinary memfd, sealed against changes of size, becomes the guest's shared memory." },
  bind: { tries: 'A memslot ties the file to the VM.', worry: WHAT_BIND_DOES },
  'bind-to-second-vm': { tries: 'Another VM asks for the same file.', worry: ONE_VM },
  'host-maps-after-bind': { tries: 'The host maps the bound file.', worry: WHAT_BIND_DOES },
  'host-reads-after-bind': { tries: 'The host reads through such a mapping.', worry: WHAT_BIND_DOES },
  'host-writes-after-bind': { tries: 'The host writes through such a mapping.', worry: WHAT_BIND_DOES },
  'launch-start': { tries: "The technology's launch begins.", worry: COMPLETE },
  fill: { tries: 'The host puts the initial contents where the guest will look for them.', worry: WHAT_BIND_DOES },
  'load-copy': {
    tries: 'The file was filled before it was bound; the launch wants to be given the contents itself.',
    worry: WHAT_BIND_DOES,
  },
  'complete-with-live-mapping': {
    tries: 'Completion is declared while the loader still maps the file.',
    worry: COMPLETE,
  },
  'old-mapping-reads': { tries: 'The host reads through the mapping from before completion.', worry: COMPLETE },
  'remove-mapping': { tries: 'The loader gives its mapping up.' },
  complete: { tries: 'Completion is declared, in order this time.', worry: COMPLETE },
  'host-access-after-complete': { tries: 'The host asks for a new mapping and writes.', worry: COMPLETE },
  'guest-accepts': { tries: 'The guest takes its private memory over and carries the initial contents there.' },
  'guest-reads-initial-contents': { tries: 'The guest adds up every word of its memory.', worry: NON_EMPTY },
  'guest-writes': { tries: 'The guest stores a value that the host never had, and reads it back.' },
  'host-reads-private': { tries: 'The host reads a page that the guest holds private.', worry: COMPLETE },
  'slot-reads-private': {
    tries: "The host reads the same page at the memslot's own address, where KVM and a device would look.",
    worry: SLOTS,
  },
  'host-writes-private': { tries: 'The host writes into a private page; the guest looks at it.', worry: COMPLETE },
  'vm-readv-private': { tries: 'The kernel reads a private page for the host: process_vm_readv.', worry: ONE_FILE },
  'io-into-private': { tries: 'Ordinary I/O goes into a private page, as read(2) does.', worry: ONE_FILE },
  'convert-to-shared': { tries: 'A range of private pages becomes shared.', worry: SWITCH },
  'guest-reads-converted-range': { tries: 'The guest looks what the range holds now.', worry: OTHER_SIDE },
  'host-refills': { tries: 'The host fills the shared range.', worry: ONE_FILE },
  'guest-answers': { tries: 'The guest checks that and answers in it; the host reads the answer.', worry: ONE_FILE },
  'vm-readv-shared': { tries: 'The kernel reads a shared page for the host: process_vm_readv.', worry: ONE_FILE },
  'io-into-shared': { tries: 'Ordinary I/O goes into a shared page, as read(2) does.', worry: ONE_FILE },
  'convert-to-private': { tries: 'The range becomes private again.', worry: SWITCH },
  'guest-reads-taken-back': { tries: 'The guest looks what the range holds after the way back.', worry: OTHER_SIDE },
  'host-access-after-taken-back': { tries: 'The host tries the range once more.', worry: COMPLETE },
  'neighbours-untouched': { tries: 'The guest checks the pages around the range, and its own value.', worry: ONE_FILE },
  'convert-while-pinned': {
    tries: 'A page that I/O or a device still holds is to become private.',
    worry: ONE_FILE,
  },
  'host-reads-private-page': {
    tries: 'The host reads a page of another file, all of whose pages are private.',
    worry: COMPLETE,
  },
  'fill-private-from-outside': { tries: 'The host writes into private memory by write(2).', worry: EARLY_DATA },
  'round-trip-without-punching': {
    tries: 'A page becomes shared and private again, and no hole is punched.',
    worry: OTHER_SIDE,
  },
  'round-trip-with-punching': { tries: 'The same, with a hole punched on the way.', worry: OTHER_SIDE },
  'shared-side-is-other-memory': {
    tries: 'The host reads the shared side of a page whose private side holds a secret.',
    worry: SLOTS,
  },
  'pre-fault': { tries: 'KVM is asked to bring a private page in before the guest touches it.' },
  'guest-touches-private-without-backing': { tries: 'The guest touches a private page that no file backs.' },
  'host-fills-before-bind': {
    tries: 'The host fills a page of a second file that nobody has bound.',
    worry: EARLY_DATA,
  },
  'bind-non-empty': { tries: 'That file, which is not empty now, is bound.', worry: NON_EMPTY },
  'guest-reads-non-empty': { tries: 'The guest looks what it finds there.', worry: NON_EMPTY },
  'close-while-bound': {
    tries: 'The descriptor is closed while the memslot has the file, and the guest reads on.',
    worry: NOTIFIER,
  },
  'vm-closed-first': {
    tries: 'The VM is closed first; then the file is used, and offered to another VM.',
    worry: ONE_VM,
  },
  close: { tries: 'Slots, file, vCPU and VM are closed.' },
};
