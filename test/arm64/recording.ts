/** What one kernel answers to a list of scenarios: data that can be compared with another kernel's. */
import { type Exit, Kvm, type Sys } from 'privmem';

/** Values that JSON keeps as they are. */
export type Fact = string | number | boolean | null | readonly Fact[] | { readonly [name: string]: Fact };

export type Recording = Readonly<Record<string, Readonly<Record<string, Fact>>>>;

export interface Scene {
  readonly sys: Sys;
  readonly kvm: Kvm;
  /** Records a fact under a name, which must be new. */
  note(name: string, fact: Fact): void;
  /** Closes a resource at the end of the scenario, the last one first. */
  use<T extends { close(): void }>(resource: T): T;
}

export type Scenario = (scene: Scene) => void;

interface Refusable {
  readonly ok: boolean;
  readonly code?: string;
  readonly value: unknown;
}

/** `ok`, `ok N` or the errno's name. */
export function outcome(result: Refusable): string {
  if (!result.ok) return result.code ?? '?';
  return typeof result.value === 'number' || typeof result.value === 'bigint' ? `ok ${result.value}` : 'ok';
}

/** As outcome, for requests whose value is a descriptor or of no interest. */
export const verdict = (result: Refusable): string => (result.ok ? 'ok' : (result.code ?? '?'));

export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** An exit with what both kernels must agree on. */
export function exitFact(exit: Exit): Fact {
  switch (exit.name) {
    case 'KVM_EXIT_MMIO': {
      const data = exit.isWrite ? Buffer.from(exit.data).toString('hex') : null;
      return { exit: exit.name, gpa: hex(exit.gpa), length: exit.length, write: exit.isWrite, data };
    }
    case 'KVM_EXIT_MEMORY_FAULT':
      return { exit: exit.name, gpa: hex(exit.gpa), size: exit.size, flags: hex(exit.flags), code: exit.code };
    case 'KVM_EXIT_SYSTEM_EVENT':
      return { exit: exit.name, type: exit.type, data: exit.data.map(hex) };
    case 'KVM_EXIT_HYPERCALL':
      return { exit: exit.name, nr: hex(exit.nr), args: exit.args.map(hex), flags: hex(exit.flags) };
    default:
      return { exit: exit.name ?? exit.reason };
  }
}

/** Runs the scenarios, each with its own /dev/kvm. An error that a scenario does not expect is a fact too. */
export function record(
  sys: Sys,
  scenarios: Readonly<Record<string, Scenario>>,
  tell?: (name: string) => void,
): Recording {
  const recording: Record<string, Record<string, Fact>> = {};
  for (const [name, scenario] of Object.entries(scenarios)) {
    tell?.(name);
    const facts: Record<string, Fact> = {};
    recording[name] = facts;
    const resources: { close(): void }[] = [];
    const scene: Scene = {
      sys,
      kvm: Kvm.open(sys),
      note: (fact, value) => {
        if (fact in facts) throw new Error(`${name}: two facts are called ${fact}`);
        facts[fact] = value;
      },
      use: (resource) => {
        resources.push(resource);
        return resource;
      },
    };
    try {
      scenario(scene);
    } catch (error) {
      facts.thrown = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    }
    for (const resource of resources.reverse()) resource.close();
    scene.kvm.close();
  }
  return recording;
}
