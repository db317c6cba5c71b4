/** System registers by name; the number is op0, op1, CRn, CRm and op2, as MRS has them and KVM's register ids too. Arm ARM, D24. */

function encoding(op0: number, op1: number, crn: number, crm: number, op2: number): number {
  return (op0 << 14) | (op1 << 11) | (crn << 7) | (crm << 3) | op2;
}

export const SYSTEM_REGISTERS = {
  midr_el1: encoding(3, 0, 0, 0, 0),
  mpidr_el1: encoding(3, 0, 0, 0, 5),
  sctlr_el1: encoding(3, 0, 1, 0, 0),
  ttbr0_el1: encoding(3, 0, 2, 0, 0),
  ttbr1_el1: encoding(3, 0, 2, 0, 1),
  tcr_el1: encoding(3, 0, 2, 0, 2),
  spsr_el1: encoding(3, 0, 4, 0, 0),
  elr_el1: encoding(3, 0, 4, 0, 1),
  sp_el0: encoding(3, 0, 4, 1, 0),
  spsel: encoding(3, 0, 4, 2, 0),
  currentel: encoding(3, 0, 4, 2, 2),
  esr_el1: encoding(3, 0, 5, 2, 0),
  far_el1: encoding(3, 0, 6, 0, 0),
  mair_el1: encoding(3, 0, 10, 2, 0),
  vbar_el1: encoding(3, 0, 12, 0, 0),
  contextidr_el1: encoding(3, 0, 13, 0, 1),
  tpidr_el1: encoding(3, 0, 13, 0, 4),
  nzcv: encoding(3, 3, 4, 2, 0),
  daif: encoding(3, 3, 4, 2, 1),
  tpidr_el0: encoding(3, 3, 13, 0, 2),
  tpidrro_el0: encoding(3, 3, 13, 0, 3),
  cntfrq_el0: encoding(3, 3, 14, 0, 0),
  cntvct_el0: encoding(3, 3, 14, 0, 2),
} as const;

export type SystemRegister = keyof typeof SYSTEM_REGISTERS;

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(SYSTEM_REGISTERS).map(([name, id]) => [id, name]));

/** The name, or s3_0_c1_c0_0 as assemblers write it. */
export function systemRegisterName(id: number): string {
  const parts = [(id >> 14) & 3, (id >> 11) & 7, (id >> 7) & 15, (id >> 3) & 15, id & 7] as const;
  return NAMES.get(id) ?? `s${parts[0]}_${parts[1]}_c${parts[2]}_c${parts[3]}_${parts[4]}`;
}
