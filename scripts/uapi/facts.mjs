/** Turns the tables of lib/uapi into facts that a C compiler can judge: one expression in C and the value that the tables claim. */

/** Names that no user header defines, with the reason. Anything else that the newest headers lack is an error. */
const NOT_IN_USER_HEADERS = [
  [/^SVM_SEV_FEAT_/, 'arch/x86/include/asm/svm.h, a header of the kernel itself'],
  [/^SPLICE_F_/, 'include/linux/splice.h, a header of the kernel itself'],
];

/** Values by which a header says that the architecture does not have it. */
const MEANS_ABSENT = new Map([['KVM_DIRTY_LOG_PAGE_OFFSET', 0n]]);

export function reasonForAbsence(subject) {
  return NOT_IN_USER_HEADERS.find(([pattern]) => pattern.test(subject))?.[1];
}

function* layoutFacts(layout) {
  const { arch, name } = layout;
  const type = layout.cType ?? `struct ${name}`;
  const fact = (what, c, value) => ({ subject: `${name}${what}`, c, value: BigInt(value), arch });
  yield fact(' size', `sizeof(${type})`, layout.size);
  for (const [key, field] of Object.entries(layout.fields)) {
    const member = layout.cNames?.[key] ?? key;
    if (member === '') continue;
    yield fact(`.${key} offset`, `__builtin_offsetof(${type}, ${member})`, layout.offsets[key]);
    yield fact(`.${key} size`, `sizeof(((${type} *)0)->${member})`, field.size);
  }
  if (layout.flexible === undefined) return;
  const { name: tail, element } = layout.flexible;
  yield fact(`.${tail}[] offset`, `__builtin_offsetof(${type}, ${layout.cNames?.[tail] ?? tail})`, layout.size);
  // A tail that has another name in C is a union there: only its place can be compared.
  if (layout.cNames?.[tail] === undefined) {
    yield fact(`.${tail}[] element size`, `sizeof(((${type} *)0)->${tail}[0])`, element.size);
  }
}

function* nameFacts(set) {
  for (const [name, value] of set.entries) {
    yield { subject: name, c: name, value, arch: set.arch, absentValue: MEANS_ABSENT.get(name) };
  }
}

function ioctlFact(ioctl) {
  const arch = ioctl.arch ?? (ioctl.arg.kind === 'struct' ? ioctl.arg.layout.arch : undefined);
  return { subject: ioctl.name, c: ioctl.name, value: BigInt(ioctl.request), arch };
}

/** Single constants and functions that are in no table. */
function* singleFacts(uapi) {
  const fact = (subject, value, c = subject, arch = undefined) => ({ subject, c, value: BigInt(value), arch });
  yield fact('KVMIO', uapi.KVMIO);
  yield fact('KVM_API_VERSION', uapi.KVM_API_VERSION);
  yield fact('KVM_RUN_SIZE', uapi.KVM_RUN_SIZE, 'sizeof(struct kvm_run)');
  yield fact('KVM_RUN_EXIT_OFFSET', uapi.KVM_RUN_EXIT_OFFSET, '__builtin_offsetof(struct kvm_run, hw)');
  yield fact('KVM_VM_TYPE_ARM_IPA_SIZE_MASK', uapi.KVM_VM_TYPE_ARM_IPA_SIZE_MASK);
  const id = uapi.ARM64_SYS_REG(3, 0, 4, 2, 2);
  yield fact('KVM_REG_SIZE()', uapi.KVM_REG_SIZE(id), `KVM_REG_SIZE(${id}ULL)`);

  const core = (subject, value, member, size = 'U64') =>
    fact(
      subject,
      value,
      `KVM_REG_ARM64 | KVM_REG_SIZE_${size} | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(${member})`,
      'arm64',
    );
  yield core('KVM_REG_ARM64_X(0)', uapi.KVM_REG_ARM64_X(0), 'regs.regs[0]');
  yield core('KVM_REG_ARM64_X(30)', uapi.KVM_REG_ARM64_X(30), 'regs.regs[30]');
  yield core('KVM_REG_ARM64_SP', uapi.KVM_REG_ARM64_SP, 'regs.sp');
  yield core('KVM_REG_ARM64_PC', uapi.KVM_REG_ARM64_PC, 'regs.pc');
  yield core('KVM_REG_ARM64_PSTATE', uapi.KVM_REG_ARM64_PSTATE, 'regs.pstate');
  yield core('KVM_REG_ARM64_SP_EL1', uapi.KVM_REG_ARM64_SP_EL1, 'sp_el1');
  yield core('KVM_REG_ARM64_ELR_EL1', uapi.KVM_REG_ARM64_ELR_EL1, 'elr_el1');
  yield core('KVM_REG_ARM64_SPSR(4)', uapi.KVM_REG_ARM64_SPSR(4), 'spsr[4]');
  yield core('KVM_REG_ARM64_V(31)', uapi.KVM_REG_ARM64_V(31), 'fp_regs.vregs[31]', 'U128');
  yield core('KVM_REG_ARM64_FPSR', uapi.KVM_REG_ARM64_FPSR, 'fp_regs.fpsr', 'U32');
  yield core('KVM_REG_ARM64_FPCR', uapi.KVM_REG_ARM64_FPCR, 'fp_regs.fpcr', 'U32');
  yield fact('ARM64_SYS_REG()', id, 'ARM64_SYS_REG(3, 0, 4, 2, 2)', 'arm64');
  const irq = uapi.armIrq(1, 0x203, 45);
  yield fact(
    'armIrq()',
    irq,
    '(2ULL << KVM_ARM_IRQ_VCPU2_SHIFT) | (1 << KVM_ARM_IRQ_TYPE_SHIFT) | (3 << KVM_ARM_IRQ_VCPU_SHIFT) | 45',
    'arm64',
  );
}

/** All facts of the tables, as they are when nothing of a user's is declared. */
export function factsOf(uapi) {
  const facts = [...singleFacts(uapi)];
  for (const layout of uapi.allLayouts()) facts.push(...layoutFacts(layout));
  for (const set of uapi.allNameSets()) facts.push(...nameFacts(set));
  for (const ioctl of uapi.allIoctls()) facts.push(ioctlFact(ioctl));
  // The same name may be in two sets (bits shared by architectures): one fact for each place, checked once.
  const seen = new Map();
  for (const fact of facts) seen.set(`${fact.arch}|${fact.subject}|${fact.c}|${fact.value}`, fact);
  return [...seen.values()];
}

/** Families of names whose tables claim to be complete: what a newer header adds to them is reported. */
const COMPLETE =
  /^(KVM_CAP_|KVM_EXIT_[A-Z0-9_]+$|GUEST_MEMFD_FLAG_|KVM_MEM_|KVM_MEMORY_|KVM_X86_QUIRK_|KVM_MP_STATE_|KVM_SYSTEM_EVENT_|KVM_X86_[A-Z_]+_VM$|MFD_|F_SEAL_|FALLOC_FL_|MADV_|KVM_HC_|KVM_FEATURE_|KVM_ARM_VCPU_)/;
/** Of other architectures, or a name for zero. */
const LEFT_OUT =
  /__KVM_DEPRECATED|FALLOC_FL_ALLOCATE_RANGE|S390|_PPC_|SPAPR|MIPS|RISCV|LOONGARCH|_SVM_OFF|DIRTY_TLB|ALLOCATE_RMA/;

/** Names that the headers define and the tables do not have. `macros` maps names to bodies. */
export function unknownNames(uapi, macros) {
  const known = new Set(uapi.allIoctls().map((ioctl) => ioctl.name));
  for (const set of uapi.allNameSets()) for (const name of set.entries.keys()) known.add(name);
  const unknown = [];
  for (const [name, body] of macros) {
    if (known.has(name) || LEFT_OUT.test(name)) continue;
    if (/_IO[WR]*\(\s*KVMIO/.test(body)) unknown.push(name);
    else if (COMPLETE.test(name) && /^\(?[\dx(]/.test(body) && !/MASK|SHIFT/.test(name)) unknown.push(name);
  }
  return unknown.sort();
}
