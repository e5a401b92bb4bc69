/** Exit codes of the command line; those of signals are 128 and the signal's number, as shells have it. */
export const EXIT = { ok: 0, failure: 1, usage: 2, interrupted: 130, terminated: 143 } as const;

/** Signals that end a command, and how. */
export const SIGNALS = { SIGINT: 'interrupted', SIGTERM: 'terminated' } as const;

/** A signal that ends a command. */
export type Signal = keyof typeof SIGNALS;

/** A mistake on the command line itself: exit code 2. */
export class UsageError extends Error {
  readonly code = 'ERR_USAGE';
  override readonly name = 'UsageError';
}

/** A check that found what it looks for: exit code 1. */
export class CheckFailed extends Error {
  readonly code = 'ERR_CHECK_FAILED';
  override readonly name = 'CheckFailed';
}

/** The message of an error and of what caused it, for people. */
export function messageOf(e: unknown): string {
  if (!(e instanceof Error)) return String(e);
  if ((e as NodeJS.ErrnoException).syscall === 'uv_cwd')
    return 'the working folder is not there any more (deleted or moved): change to one that is';
  const cause = e.cause instanceof Error && !e.message.includes(e.cause.message) ? ` (${e.cause.message})` : '';
  return `${e.message}${cause}`;
}
