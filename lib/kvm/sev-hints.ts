/** What usually causes a refusal of an SEV command, and the next step. From the checks of arch/x86/kvm/svm/sev.c and AMD's documents 55766 and 56860. */

interface Row {
  /** Of the commands' names. */
  readonly of: RegExp;
  readonly code: string;
  /** The firmware's code; undefined: whatever it is. */
  readonly firmware?: number;
  readonly hint: string;
}

const INVALID_GUEST_STATE = 2;
const INVALID_GUEST = 0x10;

const ROWS: readonly Row[] = [
  {
    of: /INIT2$/,
    code: 'EINVAL',
    hint: 'done already, a vCPU exists, this VM type has no SEV, or a feature bit is not offered: INIT2 comes right after KVM_CREATE_VM',
  },
  { of: /INIT2$/, code: 'EPERM', hint: 'an initialised SNP VM takes SNP commands only: INIT2 is done already' },
  { of: /INIT2$/, code: 'EBUSY', hint: 'no ASID is left for another encrypted guest: end one' },
  {
    of: /LAUNCH_(UPDATE_DATA|UPDATE_VMSA|MEASURE|FINISH|SECRET)$/,
    code: 'EIO',
    firmware: INVALID_GUEST,
    hint: 'the firmware knows no such guest: LAUNCH_START comes first',
  },
  {
    of: /LAUNCH_FINISH$/,
    code: 'EIO',
    firmware: INVALID_GUEST_STATE,
    hint: 'LAUNCH_MEASURE comes before LAUNCH_FINISH, and each once',
  },
  {
    of: /LAUNCH_(UPDATE_DATA|UPDATE_VMSA|MEASURE|START|SECRET)$/,
    code: 'EIO',
    firmware: INVALID_GUEST_STATE,
    hint: 'the launch is past it: START, UPDATE_DATA, (ES) UPDATE_VMSA, MEASURE, FINISH, in this order',
  },
  {
    of: /LAUNCH_UPDATE_DATA$/,
    code: 'EIO',
    hint: 'address and length must be multiples of 16 bytes',
  },
  {
    of: /LAUNCH_UPDATE_DATA$/,
    code: 'ENOMEM',
    hint: 'RLIMIT_MEMLOCK, or an address that cannot be pinned: the pages are pinned while the VM lives',
  },
  { of: /LAUNCH_UPDATE_VMSA$/, code: 'ENOTTY', hint: 'only SEV-ES seals registers, and INIT2 comes first' },
  {
    of: /LAUNCH_/,
    code: 'ENOTTY',
    hint: 'the VM is not initialised for it: INIT2 comes first (SNP: right after KVM_CREATE_VM)',
  },
  { of: /(LAUNCH|DBG|STATUS)/, code: 'EPERM', hint: 'an SEV-SNP VM takes the SNP_LAUNCH commands' },
  {
    of: /SNP_LAUNCH_START$/,
    code: 'EINVAL',
    hint: 'bit 17 of the policy must be set, bits that the firmware does not offer must not; and START comes once',
  },
  {
    of: /SNP_LAUNCH_UPDATE$/,
    code: 'EINVAL',
    hint: 'SNP_LAUNCH_START comes first; length and address must be page aligned and not 0; the page type must exist; gfn_start needs a memslot with a guest_memfd',
  },
  {
    of: /SNP_LAUNCH_UPDATE$/,
    code: 'EIO',
    hint: 'the first page left could not be added: its memory attribute is not PRIVATE, it was added before, its source cannot be read, or the launch is finished',
  },
  { of: /SNP_LAUNCH_FINISH$/, code: 'EINVAL', hint: 'SNP_LAUNCH_START comes first, and flags must be 0' },
  {
    of: /SNP_LAUNCH_FINISH$/,
    code: 'EIO',
    hint: 'finished already, or an identity block that does not fit the measurement',
  },
  {
    of: /LAUNCH_UPDATE_VMSA$/,
    code: 'EINVAL',
    hint: 'a vCPU is sealed once, and not while it is debugged',
  },
  {
    of: /LAUNCH_(UPDATE_DATA|UPDATE_VMSA|MEASURE|FINISH|SECRET)$|DBG|STATUS/,
    code: 'EBADF',
    hint: 'LAUNCH_START comes first: until then the VM has no /dev/sev to go through',
  },
  { of: /./, code: 'EBADF', hint: 'sev_fd must be an open /dev/sev' },
];

export function sevHint(command: string, code: string, firmware: number): string | undefined {
  return ROWS.find(
    (row) => row.of.test(command) && row.code === code && (row.firmware === undefined || row.firmware === firmware),
  )?.hint;
}
