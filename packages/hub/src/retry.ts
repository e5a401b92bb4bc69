import { setTimeout as sleep } from 'node:timers/promises';
import { HubError, PassingError } from './errors';

/** How stubborn a pull is. */
export interface RetryOptions {
  /** Attempts in a row without a byte of progress before it gives up; default 6. */
  readonly attempts?: number | undefined;
  /** Wait before the second attempt, in ms; each further wait is twice as long. Default 1000. */
  readonly baseMs?: number | undefined;
  /** Most that is waited when the server asks for more time (`retry-after`), in ms; beyond it the pull ends. Default 5 minutes. */
  readonly maxWaitMs?: number | undefined;
  /** A connection that brings nothing for so long is cut, in ms; default 60000. */
  readonly stallMs?: number | undefined;
}

/** {@link RetryOptions} with the defaults filled in, and who is told. */
export interface RetryPolicy extends Required<{ [K in keyof RetryOptions]: number }> {
  readonly signal: AbortSignal;
  readonly onNotice: (text: string) => void;
}

/** A wait for people: `0.5 s`, `12 s`. */
const secondsText = (ms: number): string => `${ms < 1000 ? (ms / 1000).toFixed(1) : Math.round(ms / 1000)} s`;

/**
 * Runs an attempt until it succeeds or fails for good. After a {@link PassingError} it waits and tries again, up to `attempts` times in a row;
 * an attempt that `progressed` begins a new row.
 */
export async function persist<T>(
  attempt: () => Promise<T>,
  { attempts, baseMs, maxWaitMs, signal, onNotice }: RetryPolicy,
  progressed: () => boolean = () => false,
): Promise<T> {
  for (let failed = 0; ;) {
    try {
      signal.throwIfAborted();
      return await attempt();
    } catch (e) {
      signal.throwIfAborted();
      if (!(e instanceof PassingError)) throw e;
      failed = progressed() ? 1 : failed + 1;
      if (failed >= attempts) throw new HubError(`${e.message}; ${attempts} attempts failed`, { cause: e });
      const wait = Math.max(e.waitMs ?? 0, baseMs * 2 ** (failed - 1));
      if (wait > maxWaitMs)
        throw new HubError(`${e.message}; the server asks to wait ${secondsText(wait)}: run it again then`, {
          cause: e,
        });
      onNotice(`${e.message}; again in ${secondsText(wait)}`);
      await sleep(wait, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}

/**
 * How long a server asks to wait, in ms: `Retry-After` in seconds or as a date, else the `t` of the Hub's `RateLimit` (seconds until its window
 * ends).
 */
export function waitOf(headers: Headers, now = Date.now()): number | undefined {
  const after = headers.get('retry-after')?.trim();
  if (after !== undefined) {
    if (/^\d+(?:\.\d+)?$/.test(after)) return Number(after) * 1000;
    const date = Date.parse(after);
    if (Number.isFinite(date)) return Math.max(0, date - now);
  }
  const reset = /(?:^|;)\s*t=(\d+)/.exec(headers.get('ratelimit') ?? '');
  return reset ? Number(reset[1]) * 1000 : undefined;
}

/** A signal that also fires when nothing has been seen for `ms`; `seen` starts the time anew, `end` stops it. */
export function watchdog(
  signal: AbortSignal,
  ms: number,
): { signal: AbortSignal; seen(): void; end(): void; stalled(): boolean } {
  const own = new AbortController();
  let stalled = false;
  const stop = (): void => own.abort(signal.reason);
  const timer = setTimeout(() => {
    stalled = true;
    own.abort(new PassingError('stalled'));
  }, ms);
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  return {
    signal: own.signal,
    seen: () => void timer.refresh(),
    end: () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    },
    stalled: () => stalled,
  };
}

/** What comes first, the answer or the end of `signal`: an answer that nobody gives any more is not waited for, as a fetch that was ended may have it. */
export async function orAborted<T>(answer: PromiseLike<T> | T, signal: AbortSignal): Promise<T> {
  const pending = Promise.resolve(answer); // a fetch of the caller's may give anything
  void pending.catch(() => undefined); // when it comes too late
  signal.throwIfAborted();
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([pending, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
