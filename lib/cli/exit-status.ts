/** The exit statuses of every command. */
export const EXIT = {
  done: 0,
  /** An expectation failed. */
  failed: 1,
  /** Wrong usage. */
  usage: 2,
  /** Not supported here, as the kernel's selftests say it. */
  unsupported: 4,
  /** Interrupted by SIGINT, as shells count it. */
  interrupted: 130,
} as const;
