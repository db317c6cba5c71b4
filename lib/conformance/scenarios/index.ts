/** All scenarios, in the order in which they run. */
import type { Scenario } from '../scenario.ts';
import { attributesCapability } from './attributes/capability.ts';
import { attributesChecks } from './attributes/checks.ts';
import { attributesHugePages } from './attributes/huge-pages.ts';
import { attributesRanges } from './attributes/ranges.ts';
import { attributesSlots } from './attributes/slots.ts';
import { conversionExplicit } from './conversion/explicit.ts';
import { conversionCapability, conversionHypercall } from './conversion/hypercall.ts';
import { conversionModes } from './conversion/modes.ts';
import { guestMemfdScenarios } from './guest-memfd/index.ts';
import { kvmScenarios } from './kvm/index.ts';
import { lifetimePrivateMemory } from './lifetime/private-memory.ts';
import { mappingChange } from './mapping/change.ts';
import { mappingMmap } from './mapping/mmap.ts';
import { memfdContents } from './memfd/contents.ts';
import { memfdCreate } from './memfd/create.ts';
import { memfdFallocate } from './memfd/fallocate.ts';
import { memfdSealRules } from './memfd/seal-rules.ts';
import { memfdSeals } from './memfd/seals.ts';
import { memoryFaultExits } from './memory-fault/exits.ts';
import { memoryFaultHostSide } from './memory-fault/host-side.ts';
import { memoryFaultPoison } from './memory-fault/poison.ts';
import { memslotScenarios } from './memslot/index.ts';
import { preFaultChecks } from './pre-fault/checks.ts';
import { preFaultProgress } from './pre-fault/progress.ts';
import { preFaultRace } from './pre-fault/race.ts';
import { privateMemoryContents } from './private-memory/contents.ts';
import { privateMemoryPunch } from './private-memory/punch.ts';
import { privateMemoryResidency } from './private-memory/residency.ts';
import { privateMemoryRoundTrip } from './private-memory/round-trip.ts';
import { privateMemorySlots } from './private-memory/slots.ts';
import { raceConvert } from './race/convert.ts';
import { raceSlots } from './race/slots.ts';
import { raceVcpus } from './race/vcpus.ts';
import { secretmem } from './secretmem/secretmem.ts';

export const SCENARIOS: readonly Scenario[] = [
  ...memfdCreate,
  ...memfdContents,
  ...memfdFallocate,
  ...memfdSeals,
  ...memfdSealRules,
  ...mappingMmap,
  ...mappingChange,
  ...secretmem,
  ...kvmScenarios,
  ...guestMemfdScenarios,
  ...memslotScenarios,
  ...attributesCapability,
  ...attributesChecks,
  ...attributesRanges,
  ...attributesSlots,
  ...attributesHugePages,
  ...privateMemoryContents,
  ...privateMemoryRoundTrip,
  ...privateMemoryPunch,
  ...privateMemorySlots,
  ...privateMemoryResidency,
  ...memoryFaultExits,
  ...memoryFaultHostSide,
  ...memoryFaultPoison,
  ...conversionCapability,
  ...conversionHypercall,
  ...conversionModes,
  ...conversionExplicit,
  ...preFaultChecks,
  ...preFaultProgress,
  ...preFaultRace,
  ...lifetimePrivateMemory,
  ...raceConvert,
  ...raceVcpus,
  ...raceSlots,
];

/** Those whose name contains one of the filters; a filter with `*` is a pattern for the whole name. All, without filters. */
export function selectScenarios(
  filters: readonly string[],
  from: readonly Scenario[] = SCENARIOS,
): readonly Scenario[] {
  if (filters.length === 0) return from;
  const tests = filters.map((filter) => {
    if (!filter.includes('*')) return (name: string) => name.includes(filter);
    const pattern = new RegExp(`^${filter.split('*').map(literally).join('.*')}$`);
    return (name: string) => pattern.test(name);
  });
  return from.filter(({ name }) => tests.some((test) => test(name)));
}

const literally = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
