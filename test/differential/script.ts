/** A sequence of commands as TypeScript that can be pasted into a file and run as it is. */

const literal = (value: unknown): string => {
  if (typeof value === 'bigint') return value > 4095n ? `0x${value.toString(16)}n` : `${value}n`;
  if (typeof value === 'number') return value > 4095 ? `0x${value.toString(16)}` : String(value);
  if (typeof value === 'string')
    return `'${JSON.stringify(value).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`;
  if (Array.isArray(value)) return `[${value.map(literal).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return String(value);
  return `{ ${Object.entries(value)
    .map(([key, one]) => `${/^[a-z_]\w*$/i.test(key) ? key : JSON.stringify(key)}: ${literal(one)}`)
    .join(', ')} }`;
};

export const PASTE_INTO = 'test/differential/pasted.test.ts';

/** The whole file. */
export const asScript = (suite: string, commands: readonly unknown[]): string =>
  `import { agree } from './agree.ts';\n\nagree('${suite}', [\n${commands
    .map((command) => `  ${literal(command)},\n`)
    .join('')}]);\n`;
