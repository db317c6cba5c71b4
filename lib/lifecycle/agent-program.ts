/**
 * The guest of a lifecycle: one program that takes orders. A protected guest's registers are sealed by its launch, so it cannot be given another
 * program later; what it does next comes from a mailbox in memory that it shares with the host.
 */
import {
  type Builders,
  type GuestArch,
  type GuestBuilder,
  type GuestProgram,
  type GuestTechnology,
  program,
  SHARED_ALIAS,
  type Variable,
} from '../guest/index.ts';

/** What the guest can be told to do. Addresses are as the guest uses them: private at the gpa, shared {@link SHARED_ALIAS} higher where there are two. */
export const ORDER = {
  /** Reports the word at `address`. */
  load: 1,
  /** Stores `value` at `address`. */
  store: 2,
  /** Reports the sum of the words of a range. */
  sum: 3,
  /** Reports how many words of a range are not their own gpa XOR `value`. */
  compare: 4,
  /** Copies from `source`. */
  copy: 5,
  /** Asks for pages to become private; reports the answer. */
  toPrivate: 6,
  /** Asks for pages to become shared; reports the answer. */
  toShared: 7,
} as const;
export type Order = keyof typeof ORDER;

/** Guest-physical; one page, shared with the host. */
export const MAILBOX = 0x7_0000;
export const MAIL = { order: 0, address: 8, length: 16, value: 24, source: 32 } as const;
export const MAIL_SIZE = 40;

/** Tags of its reports. */
export const TAG = { ready: 0, result: 1 } as const;

export interface AgentOptions {
  readonly arch: GuestArch;
  readonly technology: GuestTechnology;
  /** The guest says by the address which side it means. */
  readonly sided: boolean;
  /** The guest must give its mailbox to the host itself (pKVM). */
  readonly givesMailbox: boolean;
  /** It can ask for conversions: x86-64 in the technology's way, arm64 by hypervisor calls. */
  readonly converts: boolean;
  /** Ranges that orders will touch. */
  readonly touches: readonly { readonly gpa: number; readonly size: number }[];
}

const PAGE = 4096;

interface Mail {
  readonly address: Variable;
  readonly length: Variable;
  readonly value: Variable;
  readonly source: Variable;
}

type Convert = (mail: Mail, isPrivate: boolean, result: Variable) => void;

function serve(g: GuestBuilder, mailbox: number, options: AgentOptions, convert: Convert): void {
  for (const { gpa, size } of options.touches) g.touch(gpa, size);
  const mail: Mail = {
    address: g.variable(0),
    length: g.variable(0),
    value: g.variable(0),
    source: g.variable(0),
  };
  const order = g.variable(0);
  const result = g.variable(0);
  const rounds = g.variable(0);
  const on = (which: Order, body: () => void): void => g.when(order.eq(ORDER[which]), body);
  g.loopForever(() => {
    g.report(TAG.ready, rounds);
    rounds.set(rounds.add(1));
    order.set(g.load(mailbox + MAIL.order));
    mail.address.set(g.load(mailbox + MAIL.address));
    mail.length.set(g.load(mailbox + MAIL.length));
    mail.value.set(g.load(mailbox + MAIL.value));
    mail.source.set(g.load(mailbox + MAIL.source));
    result.set(0);
    on('load', () => result.set(g.load(mail.address)));
    on('store', () => g.store(mail.address, mail.value));
    on('sum', () => result.set(g.checksum(mail.address, mail.length)));
    on('compare', () => {
      g.repeat(mail.length.shr(3), (i) => {
        const at = mail.address.add(i.mul(8));
        g.when(g.load(at).ne(at.xor(mail.value)), () => result.set(result.add(1)));
      });
    });
    on('copy', () => g.copy(mail.address, mail.source, mail.length));
    if (options.converts) {
      on('toPrivate', () => convert(mail, true, result));
      on('toShared', () => convert(mail, false, result));
    }
    g.report(TAG.result, result);
  });
}

function pagesOfArm(g: Builders['arm64']): Convert {
  return ({ address, length }, isPrivate, result) => {
    g.repeat(length.shr(12), (i, leave) => {
      const page = address.add(i.mul(PAGE));
      result.set(isPrivate ? g.unshare(page) : g.share(page));
      g.when(result.ne(0), leave);
    });
  };
}

const pagesOfX64 =
  (g: Builders['x64']): Convert =>
  ({ address, length }, isPrivate, result) =>
    result.set(g.mapGpaRange(address, length.shr(12), { private: isPrivate }));

export function agentProgram(options: AgentOptions): GuestProgram {
  const { arch, technology, sided } = options;
  if (arch === 'arm64') {
    return program({ arch }, (g) => {
      if (options.givesMailbox) {
        g.load(MAILBOX);
        g.share(MAILBOX);
      }
      serve(g, MAILBOX, options, pagesOfArm(g));
    });
  }
  return program({ arch, technology }, (g) =>
    serve(g, sided ? MAILBOX + SHARED_ALIAS : MAILBOX, options, pagesOfX64(g)),
  );
}
