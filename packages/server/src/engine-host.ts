import { STEP_SIZES, type Engine, type EngineStats } from '@megamoe/model';
import { setTimeout as sleep } from 'node:timers/promises';
import { stopping, unavailable } from './errors';
import type { Logger } from './log';
import { Served, type ServedModel, type ServedOptions } from './served';

/** Where a server stands. */
export type ServerStatus = 'loading' | 'ready' | 'restarting' | 'stopping' | 'stopped';

/** Counters of an engine that go on rising when it is started anew. */
export type Totals = Record<(typeof TOTALS)[number], number>;

const TOTALS = [
  'promptTokens',
  'completionTokens',
  'prefixQueryTokens',
  'prefixHitTokens',
  'steps',
  'preemptions',
] as const;

/** Counters, and steps by their tokens. */
type Counted = Totals & { readonly stepSizes: number[] };

const WATCH_MS = 250;
const MAX_WAIT_MS = 30_000;

/** Holds the engine: loads it, hands it out while it is ready, starts it again when it has died, and ends it. */
export class EngineHost {
  #status: ServerStatus = 'loading';
  #served: Served | undefined;
  #watch: NodeJS.Timeout | undefined;
  readonly #before: Counted = zero();
  #last: Counted = zero();

  constructor(
    private readonly open: () => Promise<ServedModel>,
    private readonly log: Logger,
    private readonly options: Omit<ServedOptions, 'log'>,
  ) {}

  get status(): ServerStatus {
    return this.#status;
  }

  /** What is served, ready or not; undefined until it is loaded. */
  get served(): Served | undefined {
    return this.#served;
  }

  /** Loads the model. @throws what loading throws */
  async start(): Promise<Served> {
    const opened = await this.open();
    if (this.#status !== 'loading') {
      await opened.engine.close();
      throw stopping();
    }
    this.#served = new Served(opened, { log: this.log, ...this.options });
    this.#status = 'ready';
    this.#watch = setInterval(() => this.check(), WATCH_MS);
    this.#watch.unref();
    return this.#served;
  }

  /** What is served. @throws ApiError 503 while nothing is */
  use(): Served {
    this.check();
    if (this.#served && this.#status === 'ready') return this.#served;
    throw this.unready();
  }

  /** Why nothing is served now. */
  unready() {
    if (this.#status === 'stopping' || this.#status === 'stopped') return stopping();
    return unavailable(
      'loading',
      this.#status === 'loading'
        ? 'The model is being loaded.'
        : 'The engine has ended unexpectedly and is being started again.',
    );
  }

  /** Looks whether the engine still lives. */
  check(): void {
    if (this.#status !== 'ready') return;
    const { engine } = this.#served!;
    const { status, error } = engine.health();
    if (status !== 'failed') return;
    this.#status = 'restarting';
    this.log('error', 'engine_failed', { error: error?.message });
    void this.#restart(engine);
  }

  async #restart(engine: Engine): Promise<void> {
    for (let wait = 100; this.#status === 'restarting'; wait = Math.min(2 * wait, MAX_WAIT_MS)) {
      try {
        this.stats(); // the last figures of the one that died
        await engine.restart();
        this.#keepTotals();
        if (this.#status !== 'restarting') return;
        this.#status = 'ready';
        this.log('info', 'engine_restarted');
        return;
      } catch (error) {
        this.log('error', 'engine_restart_failed', { error: (error as Error).message, retry_ms: wait });
        await sleep(wait, undefined, { ref: false });
      }
    }
  }

  /** How the engine stands, and its counters since the server started. */
  stats(): { readonly now: EngineStats; readonly totals: Counted } | undefined {
    const now = this.#served?.engine.stats();
    if (!now) return undefined;
    this.#last = { ...zero(), stepSizes: [...now.stepSizes] };
    for (const name of TOTALS) this.#last[name] = now[name];
    return { now, totals: add(this.#before, this.#last) };
  }

  /** An engine that was started anew counts from 0. */
  #keepTotals(): void {
    Object.assign(this.#before, add(this.#before, this.#last));
    this.#last = zero();
  }

  /** Takes no more requests; those under way may end within `timeoutMs`. */
  async stop(timeoutMs: number): Promise<void> {
    if (this.#status === 'stopping' || this.#status === 'stopped') return;
    this.#status = 'stopping';
    clearInterval(this.#watch);
    await this.#served?.engine.close({ drain: true, timeoutMs });
    await this.#served?.tokens.close();
    this.#status = 'stopped';
  }
}

const zero = (): Counted => ({
  ...(Object.fromEntries(TOTALS.map((name) => [name, 0])) as Totals),
  stepSizes: [...STEP_SIZES.map(() => 0), 0],
});

function add(a: Counted, b: Counted): Counted {
  const sum = zero();
  for (const name of TOTALS) sum[name] = a[name] + b[name];
  sum.stepSizes.forEach((_, i) => (sum.stepSizes[i] = (a.stepSizes[i] ?? 0) + (b.stepSizes[i] ?? 0)));
  return sum;
}
