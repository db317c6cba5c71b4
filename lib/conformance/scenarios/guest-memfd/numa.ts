/** mbind(2) on a mapped guest_memfd: policies of the file, not of the mapping. */
import { readFileSync } from 'node:fs';
import type { MemoryPolicy } from '../../../memory/nodes.ts';
import { MPOL } from '../../../uapi/mempolicy.ts';
import { forKinds, MAPPABLE, makeFile, PAGE, SHARED } from '../../file-kinds.ts';
import type { Environment, Needs } from '../../needs.ts';
import { topic } from '../../scenario.ts';

const { MPOL_DEFAULT, MPOL_BIND, MPOL_INTERLEAVE, MPOL_PREFERRED } = MPOL.value;

/** A configuration, not a behaviour: without NUMA the call is not there for any memory. */
const NUMA: Needs = {
  also: ({ sys }) => {
    const asked = sys.raw.getMempolicy(0, 0);
    return asked.ok || asked.code !== 'ENOSYS' ? undefined : 'needs mbind(2) (CONFIG_NUMA)';
  },
};

function twoNodes({ sys }: Environment): string | undefined {
  if (sys.kernel.backend !== 'kvm') return 'needs two NUMA nodes, the simulation has one';
  try {
    const online = readFileSync('/sys/devices/system/node/online', 'utf8').trim();
    return online.startsWith('0-') || online.startsWith('0,1')
      ? undefined
      : `needs NUMA nodes 0 and 1, online: ${online}`;
  } catch {
    return 'needs two NUMA nodes';
  }
}

export const guestMemfdNuma = topic(
  'guest_memfd/numa',
  { promise: 'virt/kvm/guest_memfd.c: kvm_gmem_set_policy, kvm_gmem_get_policy; Linux 6.19' },
  (scenario) => {
    const each = forKinds(scenario, [MAPPABLE, SHARED]);

    each(
      'default_without_a_policy',
      (t, kind) => {
        const map = t.map(makeFile(t, kind, 4));
        for (let page = 0; page < 4; page++)
          t.same(map.policy(page * PAGE), { mode: MPOL_DEFAULT, nodes: [] }, `policy of page ${page}`);
      },
      { needs: NUMA },
    );

    each(
      'policies_of_ranges',
      (t, kind) => {
        const map = t.map(makeFile(t, kind, 6));
        map.bindPolicy(MPOL_INTERLEAVE, [0], 0, { length: 2 * PAGE });
        map.bindPolicy(MPOL_BIND, [0], 0, { offset: 2 * PAGE, length: 2 * PAGE });
        const policies: MemoryPolicy[] = [0, 1, 2, 3, 4, 5].map((page) => map.policy(page * PAGE));
        const interleave = { mode: MPOL_INTERLEAVE, nodes: [0] };
        const bind = { mode: MPOL_BIND, nodes: [0] };
        const none = { mode: MPOL_DEFAULT, nodes: [] };
        t.same(policies, [interleave, interleave, bind, bind, none, none], 'policies of the pages');
        map.bindPolicy(MPOL_DEFAULT, [], 0, { offset: PAGE, length: 2 * PAGE });
        const after = [0, 1, 2, 3, 4, 5].map((page) => map.policy(page * PAGE).mode);
        const expected = [MPOL_INTERLEAVE, MPOL_DEFAULT, MPOL_DEFAULT, MPOL_BIND, MPOL_DEFAULT, MPOL_DEFAULT];
        t.same(after, expected, 'modes after MPOL_DEFAULT on pages 1 and 2');
      },
      { needs: NUMA },
    );

    each(
      'unknown_mode_and_nodes_are_EINVAL',
      (t, kind) => {
        const map = t.map(makeFile(t, kind, 4));
        t.refused(map.raw.bindPolicy(999, [0]), 'EINVAL', 'mode 999');
        t.refused(map.raw.bindPolicy(MPOL_BIND, []), 'EINVAL', 'MPOL_BIND to no node');
        t.refused(map.raw.bindPolicy(MPOL_BIND, [1023]), 'EINVAL', 'MPOL_BIND to node 1023');
        t.refused(map.raw.bindPolicy(MPOL_DEFAULT, [0]), 'EINVAL', 'MPOL_DEFAULT with a node');
        t.same(map.policy(), { mode: MPOL_DEFAULT, nodes: [] }, 'policy afterwards');
      },
      { needs: NUMA },
    );

    each(
      'policy_belongs_to_the_file',
      (t, kind) => {
        const file = makeFile(t, kind, 6);
        const map = file.map({ offset: 2 * PAGE });
        map.bindPolicy(MPOL_PREFERRED, [0], 0, { offset: PAGE, length: PAGE });
        const mode = map.policy(PAGE).mode;
        map.close();
        t.same(mode, MPOL_PREFERRED, 'mode in the mapping that set it');
        const inFile = t.differs({
          since: [6, 19],
          now: MPOL_PREFERRED,
          before: MPOL_DEFAULT,
          because: 'the policy moved from the mapping to the inode, so that it governs every allocation',
        });
        const whole = t.map(file);
        const modes = [0, 1, 2, 3, 4, 5].map((page) => whole.policy(page * PAGE).mode);
        t.same(modes, [0, 0, 0, inFile, 0, 0], 'modes in a mapping of the whole file made later');
      },
      { needs: NUMA },
    );

    forKinds(scenario, [SHARED])(
      'files_have_policies_of_their_own',
      (t, kind) => {
        const vm = t.vm();
        const [one, two] = [1, 2].map(() => t.map(makeFile(t, kind, 4, vm)));
        one?.bindPolicy(MPOL_BIND, [0]);
        t.same([one?.policy().mode, two?.policy().mode], [MPOL_BIND, MPOL_DEFAULT], 'modes of two files');
        one?.fill(0x5e);
        t.filledWith(one?.read(0, 4 * PAGE) ?? new Uint8Array(1), 0x5e, 'memory under the policy');
      },
      { needs: NUMA },
    );

    forKinds(scenario, [SHARED])(
      'pages_come_from_the_node_that_is_bound',
      (t, kind) => {
        const file = makeFile(t, kind, 8);
        const map = t.map(file);
        for (const [first, second] of [
          [0, 1],
          [1, 0],
        ] as const) {
          map.bindPolicy(MPOL_BIND, [first], 0, { length: 4 * PAGE });
          map.bindPolicy(MPOL_BIND, [second], 0, { offset: 4 * PAGE, length: 4 * PAGE });
          file.allocate(0, 2 * PAGE);
          map.fill(1);
          const nodes = Array.from({ length: 8 }, (_, page) => map.nodeAt(page * PAGE));
          t.same(
            nodes,
            [0, 1, 2, 3, 4, 5, 6, 7].map((page) => (page < 4 ? first : second)),
            'nodes of the pages',
          );
          file.punchHole(0, 8 * PAGE);
        }
      },
      { needs: { real: true, release: [6, 19], also: twoNodes } },
    );
  },
);
