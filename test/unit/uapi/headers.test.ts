/** The header check itself: does it see what agrees, what differs and what is absent? Against headers made here. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import * as uapi from '../../../lib/uapi/index.ts';

interface Fact {
  subject: string;
  c: string;
  value: bigint;
  arch?: uapi.Arch;
}
interface Probe {
  findCompiler(arch: uapi.Arch): { command: string; machine: string } | undefined;
  evaluate(compiler: unknown, facts: readonly { c: string }[], options: object): (bigint | undefined)[];
}
interface Facts {
  factsOf(tables: typeof uapi): Fact[];
  unknownNames(tables: typeof uapi, macros: Map<string, string>): string[];
}
const script = (name: string) => import(pathToFileURL(join(import.meta.dirname, '../../../scripts/uapi', name)).href);
const { evaluate, findCompiler } = (await script('probe.mjs')) as Probe;
const { factsOf, unknownNames } = (await script('facts.mjs')) as Facts;

const compiler = findCompiler(uapi.hostArch);
const work = mkdtempSync(join(tmpdir(), 'privmem-headers-'));
afterAll(() => rmSync(work, { recursive: true, force: true }));
mkdirSync(join(work, 'linux'));
writeFileSync(
  join(work, 'linux/kvm.h'),
  `#define KVM_CAP_GUEST_MEMFD 234
enum { KVM_DEV_TYPE_VFIO = 4 };
#define KVM_CREATE_GUEST_MEMFD (sizeof(struct kvm_create_guest_memfd) << 16)
#define HIGH 0x8000000000000000ULL
#define MINUS (-1)
struct kvm_enc_region { unsigned long long addr; unsigned long long size; };
int variable;
`,
);

describe.skipIf(compiler === undefined)('the probe', () => {
  const ask = (...expressions: string[]) =>
    evaluate(
      compiler,
      expressions.map((c) => ({ c })),
      { include: [work], defines: [], work },
    );

  it('reads macros, enumerators, sizes and offsets', () => {
    expect(
      ask(
        'KVM_CAP_GUEST_MEMFD',
        'KVM_DEV_TYPE_VFIO',
        'sizeof(struct kvm_enc_region)',
        '__builtin_offsetof(struct kvm_enc_region, size)',
        'HIGH',
        'MINUS',
      ),
    ).toEqual([234n, 4n, 16n, 8n, 1n << 63n, (1n << 64n) - 1n]);
  });

  it('tells absent from present, name by name', () => {
    expect(
      ask(
        'KVM_CAP_NOT_YET',
        'KVM_CAP_GUEST_MEMFD',
        'sizeof(struct not_yet)',
        'sizeof(((struct kvm_enc_region *)0)->nope)',
        'KVM_CREATE_GUEST_MEMFD',
        'KVM_CAP_NOT_YET',
        'NOT_A_MACRO(1)',
      ),
    ).toEqual([undefined, 234n, undefined, undefined, undefined, undefined, undefined]);
  });

  it('does not take a broken probe for an absent name', () => {
    expect(() => ask('variable')).toThrow('does not compile');
    expect(() => ask('1 +')).toThrow('does not compile');
  });
});

describe('the facts', () => {
  const facts = factsOf(uapi);

  it('cover every request, every name and every field', () => {
    const subjects = new Set(facts.map(({ subject }) => subject));
    for (const { name } of uapi.allIoctls()) expect(subjects).toContain(name);
    for (const set of uapi.allNameSets()) for (const name of set.entries.keys()) expect(subjects).toContain(name);
    for (const layout of uapi.allLayouts()) {
      expect(subjects).toContain(`${layout.name} size`);
      for (const key of Object.keys(layout.fields)) {
        if (layout.cNames?.[key] !== '') expect(subjects).toContain(`${layout.name}.${key} offset`);
      }
    }
    expect(facts.length).toBeGreaterThan(2000);
  });

  it('find names that the tables lack', () => {
    const macros = new Map([
      ['KVM_CAP_GUEST_MEMFD', '234'],
      ['KVM_CAP_BRAND_NEW', '300'],
      ['KVM_BRAND_NEW', '_IOWR(KVMIO, 0xd6, struct kvm_brand_new)'],
      ['KVM_S390_NEW', '_IO(KVMIO, 0xf0)'],
      ['UNRELATED', '1'],
    ]);
    expect(unknownNames(uapi, macros)).toEqual(['KVM_BRAND_NEW', 'KVM_CAP_BRAND_NEW']);
  });
});
