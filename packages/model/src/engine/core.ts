import { ValueError } from '@megamoe/core';
import type { Backend } from '@megamoe/ops';
import { createSamplerScratch, scoreToken, type SamplerScratch } from '@megamoe/sampler';
import { EngineClosedError, QueueFullError, StepError } from '../errors';
import type { KvMemory } from '../kv';
import type { RequestContext } from '../request';
import { Sequence } from '../sequence';
import type { BatchItem } from '../step-runner';
import { Answer } from './answer';
import { Job, KvCosts, Track, type CoreRequest, type Sink } from './job';
import { Pace } from './pace';
import { PrefixCache } from './prefix-cache';
import { schedule, type Schedule } from './schedule';
import { STEP_SIZES, type EngineStats, type EngineUsage } from './types';

/** What the core runs on; a `Model` is one. */
export interface CoreModel extends RequestContext {
  readonly backend: Pick<Backend, 'logitsScan'>;
  readonly maxChunk: number;
  readonly memory: KvMemory;
  createSequence(): Sequence;
  forward(batch: readonly BatchItem[], options: { readonly out: Float32Array }): unknown;
}

/** Limits of an engine. */
export interface CoreLimits {
  readonly maxSequences: number;
  readonly maxQueue: number;
  readonly maxStepTokens: number;
  readonly kvBytes: number;
  readonly cacheBytes: number;
  /** Most milliseconds that prompts may add to a step with decodes. */
  readonly promptMs: number;
  /** What becomes of the state of one that is put back. */
  readonly preemption: 'save' | 'recompute';
}

/** What an engine has on its hands: requests that have not had their first step, and places that nobody takes. */
export interface CoreLoad {
  readonly queued: number;
  readonly free: number;
}

/** Whether one more request may come: those that find a place at the next step are not in the queue. */
export const admits = ({ queued, free }: CoreLoad, maxQueue: number): boolean => queued < maxQueue + Math.max(0, free);

/** Tokens of a prompt between two states that are kept on the chance that somebody departs there. */
const KEEP_EVERY = 256;
/** A prompt that shares fewer tokens with another is not worth a state of its own. */
const LEAST_SHARED = 16;

const ended = { stop: 0, length: 0, cancelled: 0, failed: 0, refused: 0 };

/**
 * Runs requests over a model, step by step, and lets the event loop run in between. It owns the sequences of its requests and the prefixes that
 * it keeps; what to do next is `schedule`'s to say.
 */
export class EngineCore {
  readonly #costs: KvCosts;
  readonly #cache: PrefixCache;
  readonly #pace: Pace;
  readonly #scratch: SamplerScratch;
  readonly #waiting: Track[] = [];
  readonly #running: Track[] = [];
  readonly #jobs = new Set<Job>();
  #arrivals = 0;
  #isTicking = false;
  #closed: Error | undefined;
  #idle: (() => void)[] = [];
  #out: Float32Array;
  #rows: Float32Array[] = [];
  /** Called after each step. */
  onStep: () => void = () => undefined;
  readonly #finished = { ...ended };
  #queryTokens = 0;
  #hitTokens = 0;
  #promptTokens = 0;
  #completionTokens = 0;
  #steps = 0;
  #stepTokens = 0;
  #stepMs = 0;
  readonly #stepSizes = [...STEP_SIZES.map(() => 0), 0];
  #preemptions = 0;

  constructor(
    readonly model: CoreModel,
    readonly limits: CoreLimits,
  ) {
    this.#costs = new KvCosts(model.memory);
    this.#cache = new PrefixCache(model.memory, limits.cacheBytes);
    this.#pace = new Pace(limits.promptMs, limits.maxStepTokens);
    this.#scratch = createSamplerScratch(model.config.vocabSize);
    this.#out = new Float32Array(0);
  }

  /** Who waits, and places that are free. */
  get load(): CoreLoad {
    let queued = 0;
    for (const job of this.#jobs) if (job.startedAt === undefined) queued++;
    const { maxSequences } = this.limits;
    return { queued, free: maxSequences - this.#running.reduce((sum, track) => sum + track.width, 0) };
  }

  /** Throws when nothing can be taken in now. */
  checkAdmission(): void {
    if (this.#closed) throw this.#closed;
    const { load } = this;
    const { maxQueue } = this.limits;
    if (admits(load, maxQueue)) return;
    this.#finished.refused++;
    throw new QueueFullError(load.queued, maxQueue);
  }

  /** Takes a request in; its chunks go to `sink`. Admission has been checked. */
  add(request: CoreRequest, sink: Sink, own?: Sequence): Job {
    if (this.#closed) throw this.#closed;
    if (own !== undefined && [...this.#jobs].some((job) => job.own === own)) {
      throw new ValueError('generate: "sequence" is in use by another generation; clone it, or wait for that one');
    }
    const id = ++this.#arrivals;
    const job = new Job(id, request, sink, own);
    this.#jobs.add(job);
    this.#waiting.push(this.#track(job, id, request.promptIds));
    this.wake();
    return job;
  }

  /** Ends a request now, between two steps. */
  cancel(job: Job, reason: unknown): void {
    if (job.done) return;
    this.#finished.cancelled++;
    this.#end(job);
    job.sink.fail(reason);
  }

  /** Ends one answer of a request now, between two steps; the others go on. */
  finish(job: Job, index: number): void {
    const track = job.tracks.find(({ answer }) => answer?.index === index);
    if (job.done || track === undefined) return;
    const waits = remove(this.#waiting, track);
    if (track.isRunning) this.#release(track);
    else if (waits) track.stop();
    else return; // it has ended
    this.#push(job, { index, tokenIds: [], text: '', finishReason: 'stop' });
  }

  /** Goes on when there is something to do. */
  wake(): void {
    if (this.#isTicking) return;
    this.#isTicking = true;
    setImmediate(this.#tick);
  }

  stats(): EngineStats {
    let [running, waiting] = [0, 0];
    for (const job of this.#jobs) {
      if (job.tracks.some((track) => track.isRunning)) running++;
      else waiting++;
    }
    return {
      running,
      waiting,
      maxQueue: this.limits.maxQueue,
      kvBytes: this.model.memory.usedBytes,
      kvLimitBytes: this.limits.kvBytes,
      cacheBytes: this.#cache.bytes,
      cacheLimitBytes: this.limits.cacheBytes,
      cachedPrefixes: this.#cache.size,
      prefixQueryTokens: this.#queryTokens,
      prefixHitTokens: this.#hitTokens,
      promptTokens: this.#promptTokens,
      completionTokens: this.#completionTokens,
      steps: this.#steps,
      stepTokens: this.#stepTokens,
      stepMs: this.#stepMs,
      stepSizes: [...this.#stepSizes],
      preemptions: this.#preemptions,
      finished: { ...this.#finished },
    };
  }

  /** Resolves when no request is under way. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#jobs.size === 0) resolve();
      else this.#idle.push(resolve);
    });
  }

  /** Takes nothing more. */
  refuse(error: Error = new EngineClosedError()): void {
    this.#closed ??= error;
  }

  /** Ends every request and gives all memory back. */
  close(error: Error = new EngineClosedError()): void {
    this.#closed = error;
    for (const job of [...this.#jobs]) this.#fail(job, error);
    this.#cache.clear();
  }

  readonly #tick = (): void => {
    const did = this.#step();
    if (did) this.onStep();
    if (did && (this.#waiting.length > 0 || this.#running.length > 0)) setImmediate(this.#tick);
    else this.#isTicking = false;
  };

  /** What to do next; kept prefixes make room before anybody is put back or has to wait. */
  #plan(): Schedule {
    const { maxSequences, maxStepTokens, kvBytes } = this.limits;
    for (;;) {
      const plan = schedule({
        waiting: this.#waiting,
        running: this.#running,
        maxSequences,
        maxRows: maxStepTokens,
        promptRows: this.#pace.promptRows,
        freeBytes: kvBytes === Infinity ? Infinity : kvBytes - this.model.memory.usedBytes,
      });
      if (!plan.short || !this.#cache.evict()) return plan;
    }
  }

  /** One step; false when there was nothing to do. */
  #step(): boolean {
    const plan = this.#plan();
    const tracks = new Map<number, Track>();
    for (const track of this.#running) tracks.set(track.id, track);
    for (const id of plan.preempt) this.#putBack(tracks.get(id)!);
    for (const id of plan.admit) {
      const at = this.#waiting.findIndex((track) => track.id === id);
      const [track] = this.#waiting.splice(at, 1);
      if (this.#start(track!)) tracks.set(id, track!);
    }
    const batch: Track[] = [];
    for (const { id, n } of plan.rows) {
      const track = tracks.get(id);
      if (track?.isRunning) this.#put(batch, track, n);
    }
    if (batch.length > 0) this.#run(batch);
    return batch.length > 0 || plan.admit.length > 0 || plan.preempt.length > 0;
  }

  /** Adds the next tokens of a track to a batch. */
  #put(batch: Track[], track: Track, most: number): void {
    const { fed } = track;
    const n = Math.min(most, track.pending, track.mostRows);
    track.tokenIds = track.ids.subarray(fed, fed + n);
    const isLast = fed + n === track.length;
    track.logits = isLast ? 'last' : 'none';
    if (track.answer === undefined && track.job.request.promptLogprobs !== undefined) track.logits = 'all';
    batch.push(track);
  }

  #run(batch: Track[]): void {
    let rows = 0;
    let tokens = 0;
    let promptRows = 0;
    for (const track of batch) {
      const n = track.tokenIds.length;
      track.row = rows;
      rows += track.logits === 'all' ? n : track.logits === 'last' ? 1 : 0;
      tokens += n;
      if (!track.decoding) promptRows += n;
    }
    const out = this.#room(rows);
    const started = performance.now();
    const failed = this.#forward(batch, out);
    const ms = performance.now() - started;
    this.#steps++;
    this.#stepTokens = tokens;
    this.#stepMs += ms;
    this.#pace.note(promptRows, tokens - promptRows, ms);
    for (const { job, answer } of batch) {
      if (job.lastStep === this.#steps) continue;
      job.lastStep = this.#steps;
      if (answer === undefined) job.prefillMs += ms;
      else job.decodeMs += ms;
    }
    const before = this.#promptTokens + this.#completionTokens;
    for (const track of batch) {
      track.lastStep = this.#steps;
      if (track.job.done) continue; // an answer beside it has failed
      const error = failed.get(track);
      if (error !== undefined) this.#fail(track.job, error);
      else this.#took(track);
    }
    const done = this.#promptTokens + this.#completionTokens - before;
    const size = STEP_SIZES.findIndex((most) => done <= most);
    this.#stepSizes[size < 0 ? STEP_SIZES.length : size]!++;
  }

  /** Runs a step; tracks that failed are named, the others have gone on. */
  #forward(batch: readonly Track[], out: Float32Array): Map<Track, unknown> {
    const failed = new Map<Track, unknown>();
    try {
      this.model.forward(batch, { out });
    } catch (error) {
      if (error instanceof StepError) {
        for (const { item, error: own } of error.failures) failed.set(batch[item]!, own);
      } else if (batch.length === 1) failed.set(batch[0]!, error);
      else {
        // Nobody has gone on. Whose fault it was shows when each is tried alone.
        const v = this.model.config.vocabSize;
        for (const track of batch) {
          const rows = track.logits === 'all' ? track.tokenIds.length : track.logits === 'last' ? 1 : 0;
          try {
            this.model.forward([track], { out: out.subarray(track.row * v, (track.row + rows) * v) });
          } catch (own) {
            failed.set(track, own);
          }
        }
      }
    }
    return failed;
  }

  /** What follows from a step that a track took part in. */
  #took(track: Track): void {
    const { job } = track;
    if (track.answer !== undefined) {
      if (track.pending === 0) this.#sample(track, this.#rows[track.row]!);
      return;
    }
    const { request } = job;
    const n = track.tokenIds.length;
    this.#promptTokens += n;
    try {
      this.#score(track, n);
    } catch (error) {
      return this.#fail(job, error);
    }
    if (request.progress) {
      const prefill = { done: track.fed, cached: job.cachedTokens, total: track.length };
      job.sink.push({ index: 0, tokenIds: [], text: '', prefill });
    }
    this.#keepPrompt(track);
    if (track.pending === 0) job.own?.mark();
    if (track.pending === 0) this.#answer(track, this.#rows[track.row + (track.logits === 'all' ? n - 1 : 0)]!);
  }

  /** Log-probabilities of the prompt's tokens, as far as they are known after this step. */
  #score(track: Track, n: number): void {
    const { promptLogprobs, promptIds } = track.job.request;
    if (promptLogprobs === undefined) return;
    const from = track.fed - n;
    for (let j = 0; j < n && from + j + 1 < promptIds.length; j++) {
      const tokenId = promptIds[from + j + 1]!;
      track.job.promptScores.push(scoreToken(this.#rows[track.row + j]!, tokenId, promptLogprobs, this.#scratch));
    }
  }

  /** Keeps states of a prompt: where others may depart, where another did, and at its end. */
  #keepPrompt(track: Track): void {
    const { job, sequence } = track;
    const { request } = job;
    if (!request.reusePrefix || this.limits.cacheBytes === 0) return;
    const { fed } = track;
    const isEnd = track.pending === 0;
    if (isEnd || fed - job.keptTo >= KEEP_EVERY) {
      this.#cache.put(request.cacheKey, track.ids, sequence.pages, true);
      job.keptTo = fed;
      sequence.pages.retain(isEnd ? undefined : fed);
    }
    if (isEnd || fed === job.branchAt) this.#cache.put(request.cacheKey, track.ids, sequence.pages, false);
  }

  /** The prompt is in: its answers begin. */
  #answer(track: Track, logits: Float32Array): void {
    const { job } = track;
    const { request, sink } = job;
    if (request.promptLogprobs !== undefined) {
      sink.push({ index: 0, tokenIds: [], text: '', promptLogprobs: job.promptScores });
    }
    if (request.budget === 0) {
      for (let index = 0; index < request.n && !job.done; index++) {
        this.#push(job, { index, tokenIds: [], text: '', finishReason: 'length' });
      }
      return;
    }
    const { model } = this;
    const tools = { model, scratch: this.#scratch, scan: model.backend.logitsScan };
    try {
      track.answer = new Answer(tools, request, 0, undefined);
      for (let i = 1; i < request.n; i++) {
        const other = this.#track(job, job.id + i / request.n, request.promptIds);
        other.answer = new Answer(tools, request, i, track.answer.seed);
        other.run(track.sequence.clone());
        other.lastStep = this.#steps;
        this.#running.push(other);
      }
    } catch (error) {
      return this.#fail(job, error);
    }
    for (const each of [...job.tracks]) if (!job.done) this.#sample(each, logits);
  }

  /** Draws the next token of an answer. */
  #sample(track: Track, logits: Float32Array): void {
    const { job } = track;
    let written;
    try {
      written = track.answer!.next(logits);
    } catch (error) {
      return this.#fail(job, error);
    }
    this.#completionTokens++;
    job.completionTokens++;
    if (!written.ended) track.append(written.tokenId);
    else this.#release(track);
    this.#push(job, written.chunk);
  }

  /** Hands a chunk on; the last one of all ends the request. */
  #push(job: Job, chunk: Parameters<Sink['push']>[0]): void {
    const { finishReason } = chunk;
    if (finishReason === undefined) return job.sink.push(chunk);
    if (--job.open > 0) return job.sink.push(chunk);
    this.#finished[finishReason]++;
    const usage = usageOf(job);
    this.#end(job);
    job.sink.push({ ...chunk, usage });
    job.sink.end();
  }

  /** An answer has ended: its state is kept, its sequence given back. */
  #release(track: Track): void {
    const { request } = track.job;
    if (request.reusePrefix) this.#cache.put(request.cacheKey, track.ids, track.sequence.pages, false);
    remove(this.#running, track);
    track.stop();
  }

  #track(job: Job, arrival: number, ids: Int32Array): Track {
    const track = new Track(++this.#arrivals, arrival, job, this.#costs, ids);
    job.tracks.push(track);
    return track;
  }

  /** Puts a waiting track among the running; false when that failed, with its request. */
  #start(track: Track): boolean {
    try {
      track.run(this.#sequenceFor(track));
    } catch (error) {
      this.#fail(track.job, error);
      return false;
    }
    this.#running.push(track);
    return true;
  }

  /** The sequence that a track goes on with: the caller's own, the one that was saved, one with a prefix that is there, or a new one. */
  #sequenceFor(track: Track): Sequence {
    const { job, saved } = track;
    const { request, own } = job;
    const isFirst = job.startedAt === undefined;
    job.startedAt ??= performance.now();
    if (own !== undefined) {
      job.cachedTokens = own.resume(track.ids, track.length - 1);
      return own;
    }
    if (saved !== undefined) {
      const sequence = this.model.createSequence();
      sequence.restore(saved);
      return sequence;
    }
    const looks = request.reusePrefix && this.limits.cacheBytes > 0 && request.promptLogprobs === undefined;
    if (!looks) return this.model.createSequence();
    const ids = track.ids.subarray(0, track.length);
    const { pages, length, shared } = this.#cache.find(request.cacheKey, ids, track.length - 1);
    const { memory } = this.model;
    const { maxPositionEmbeddings } = this.model.config;
    const sequence = new Sequence(memory, maxPositionEmbeddings, pages, ids.subarray(0, length));
    if (isFirst) {
      job.cachedTokens = length;
      this.#queryTokens += track.length;
      this.#hitTokens += length;
    }
    if (track.answer === undefined) {
      // Where another prompt departed, a third one will: from then on both find a state there.
      if (shared - length >= LEAST_SHARED) job.branchAt = shared;
      else if (pages !== undefined) this.#cache.put(request.cacheKey, ids, sequence.pages, false);
      job.keptTo = length;
      sequence.pages.retain(length);
    }
    return sequence;
  }

  /** Makes a running track wait again; what it goes on with later gives the same bits. */
  #putBack(track: Track): void {
    this.#preemptions++;
    remove(this.#running, track);
    const saved = this.limits.preemption === 'save' && track.fed > 0 ? track.sequence.save() : undefined;
    track.stop();
    track.saved = saved;
    this.#waiting.push(track);
  }

  #fail(job: Job, error: unknown): void {
    if (job.done) return;
    this.#finished.failed++;
    this.#end(job);
    job.sink.fail(error);
  }

  #end(job: Job): void {
    job.done = true;
    for (const track of job.tracks) {
      remove(this.#running, track);
      remove(this.#waiting, track);
      track.stop();
    }
    this.#jobs.delete(job);
    if (this.#jobs.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Memory for rows of logits, and a view of each. */
  #room(rows: number): Float32Array {
    const v = this.model.config.vocabSize;
    if (this.#out.length < rows * v) {
      const capacity = Math.max(rows, Math.min(2 * (this.#out.length / v), this.limits.maxStepTokens));
      this.#out = new Float32Array(capacity * v);
      this.#rows = Array.from({ length: capacity }, (_, i) => this.#out.subarray(i * v, (i + 1) * v));
    }
    return this.#out.subarray(0, rows * v);
  }
}

function usageOf(job: Job): EngineUsage {
  return {
    promptTokens: job.request.promptIds.length,
    cachedTokens: job.cachedTokens,
    completionTokens: job.completionTokens,
    queueMs: (job.startedAt ?? job.since) - job.since,
    prefillMs: job.prefillMs,
    decodeMs: job.decodeMs,
  };
}

/** Whether it was there. */
function remove<T>(items: T[], item: T): boolean {
  const at = items.indexOf(item);
  if (at >= 0) items.splice(at, 1);
  return at >= 0;
}
