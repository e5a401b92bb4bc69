import { pageBytes, sequenceBytes, type PageKind } from '@megamoe/ops';
import type { KvMemory } from '../kv';
import type { PreparedRequest } from '../request';
import type { SavedSequence } from '../saved';
import type { Sequence } from '../sequence';
import type { BatchItem, WantedLogits } from '../step-runner';
import type { Answer } from './answer';
import type { Candidate } from './schedule';
import type { EngineChunk, ScoredPrompt } from './types';

/** Where the chunks of a request go. */
export interface Sink {
  /** Whether more may come now; a request that nobody reads keeps its place and takes no part in steps. */
  readonly wants: boolean;
  push(chunk: EngineChunk): void;
  /** Nothing follows. */
  end(): void;
  fail(error: unknown): void;
}

/** A request as the core takes it, all of it checked: plain data, that can go to a worker. */
export interface CoreRequest extends PreparedRequest {
  readonly n: number;
  readonly priority: number;
  readonly cacheKey: string;
  readonly reusePrefix: boolean;
  readonly promptLogprobs: number | undefined;
  readonly progress: boolean;
}

/** A request under way. */
export class Job {
  readonly tracks: Track[] = [];
  /** Tokens of the prompt that were there when its first step began. */
  cachedTokens = 0;
  /** Milliseconds since the epoch of `performance`: when it was taken in, and when its first step began. */
  readonly since = performance.now();
  startedAt: number | undefined;
  prefillMs = 0;
  decodeMs = 0;
  /** The last step that was counted. */
  lastStep = 0;
  completionTokens = 0;
  /** Answers that have not ended. */
  open: number;
  /** With `promptLogprobs`: those that are known. */
  readonly promptScores: ScoredPrompt[] = [null];
  /** Tokens of the prompt at which a state is to be kept: another prompt departed there. */
  branchAt = 0;
  /** Tokens of the prompt whose states have been kept. */
  keptTo = 0;
  done = false;

  constructor(
    readonly id: number,
    readonly request: CoreRequest,
    readonly sink: Sink,
    /** The caller's own sequence, to go on with; it is not given back at the end. */
    readonly own: Sequence | undefined,
  ) {
    this.open = request.n;
  }
}

/** What tokens cost in pages of a memory. */
export class KvCosts {
  readonly #bytes: readonly (readonly [PageKind, number])[];

  constructor(readonly memory: KvMemory) {
    this.#bytes = memory.pool.kinds.map((kind) => [kind, pageBytes(kind, memory.layers)]);
  }

  /** Bytes of pages that a sequence of so many tokens holds. */
  whole(tokens: number): number {
    return sequenceBytes(tokens, this.memory.layers);
  }

  /** Bytes of pages that the next `n` tokens of a sequence take. */
  next({ pages }: Sequence, n: number): number {
    let bytes = 0;
    for (const [kind, page] of this.#bytes) bytes += page * pages.missing(kind, pages.length + n);
    return bytes;
  }

  /** Bytes of pages that nobody else holds. */
  alone({ pages }: Sequence): number {
    const { pool } = this.memory;
    let bytes = 0;
    for (const [kind, page] of this.#bytes) {
      for (const id of pages.list(kind).ids) if (pool.holders(kind, id) === 1) bytes += page;
    }
    return bytes;
  }
}

/** Rows of a prompt with log-probabilities in one step: their logits [rows, V] stand in memory. */
const SCORED_ROWS = 32;

/** One sequence of a request: first the prompt, then an answer. The scheduler sees it as a candidate, a batch as an item. */
export class Track implements Candidate, BatchItem {
  /** Tokens of prompt and answer; those from the sequence's length on are still to be taken in. */
  ids: Int32Array;
  length: number;
  #sequence: Sequence | undefined;
  /** Of one that was put back: its state. */
  saved: SavedSequence | undefined;
  /** Once the prompt is in. */
  answer: Answer | undefined;
  lastStep = 0;
  // Of the step at hand: its tokens, which logits, and the first row of them.
  tokenIds: Int32Array;
  logits: WantedLogits = 'last';
  row = 0;

  constructor(
    readonly id: number,
    readonly arrival: number,
    readonly job: Job,
    private readonly costs: KvCosts,
    ids: Int32Array,
  ) {
    this.ids = ids;
    this.length = ids.length;
    this.tokenIds = ids;
  }

  get priority(): number {
    return this.job.request.priority;
  }

  get isRunning(): boolean {
    return this.#sequence !== undefined;
  }

  /** While it runs. */
  get sequence(): Sequence {
    return this.#sequence!;
  }

  run(sequence: Sequence): void {
    this.#sequence = sequence;
    this.saved = undefined;
  }

  /** Gives the sequence back, but for the caller's own. */
  stop(): void {
    if (this.#sequence !== this.job.own) this.#sequence?.dispose();
    this.#sequence = undefined;
    this.saved = undefined;
  }

  /** Tokens that are in. */
  get fed(): number {
    return this.#sequence?.length ?? this.saved?.tokenIds.length ?? 0;
  }

  get pending(): number {
    return this.length - this.fed;
  }

  /** One that was put back and begins anew has much pending again: it goes on as a prompt does. */
  get decoding(): boolean {
    return this.answer !== undefined && this.pending === 1;
  }

  get mostRows(): number {
    const { request, branchAt } = this.job;
    if (this.answer !== undefined) return this.pending;
    if (request.promptLogprobs !== undefined) return SCORED_ROWS;
    const { fed } = this;
    return fed < branchAt ? branchAt - fed : this.pending;
  }

  get width(): number {
    return this.answer === undefined ? this.job.request.n : 1;
  }

  get paused(): boolean {
    return !this.job.sink.wants;
  }

  readonly bytesFor = (n: number): number => {
    const sequence = this.#sequence;
    if (sequence !== undefined) return this.costs.next(sequence, Math.min(n, sequence.maxTokens - sequence.length));
    return this.costs.whole(this.fed + n);
  };

  get heldBytes(): number {
    return this.#sequence === undefined ? 0 : this.costs.alone(this.#sequence);
  }

  append(tokenId: number): void {
    if (this.length === this.ids.length) {
      const grown = new Int32Array(Math.max(64, 2 * this.length));
      grown.set(this.ids);
      this.ids = grown;
    }
    this.ids[this.length++] = tokenId;
  }
}
