/** What of the environment goes with a command into a test kernel. */

/**
 * What decides how programs run and look. The rest stays outside: sockets and sessions of the host mean nothing in the guest, and
 * secrets do not belong into its crash dumps.
 */
const PASSED =
  /^(PATH|HOME|USER|LOGNAME|SHELL|PWD|LANG|LANGUAGE|LC_\w+|TZ|TERM|COLORTERM|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|CI|DEBUG|NODE_(?!.*TOKEN)\w+|PRIVMEM_\w+|VITEST_\w+|XDG_\w+_HOME|UBSAN_OPTIONS|ASAN_OPTIONS|PYTHON\w+)$/;

/** The environment for a command: what is passed of `env`, what `add` sets (a value of undefined takes it from `env`), and `PRIVMEM_VM=1`. */
export function guestEnvironment(
  add: Readonly<Record<string, string | undefined>> = {},
  env: NodeJS.ProcessEnv = process.env,
): Record<string, string> {
  const result: Record<string, string> = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
  };
  for (const [name, value] of Object.entries(env)) {
    if (value !== undefined && PASSED.test(name)) result[name] = value;
  }
  for (const [name, given] of Object.entries(add)) {
    const value = given ?? env[name];
    if (value !== undefined) result[name] = value;
  }
  result.PRIVMEM_VM = '1';
  return result;
}
