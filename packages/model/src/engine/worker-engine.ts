import { isThere, loadTokenizer, type Tokenizer } from '@megamoe/checkpoint';
import { ValueError } from '@megamoe/core';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { EngineClosedError, QueueFullError, WorkerError } from '../errors';
import type { LoadOptions } from '../load';
import type { RequestContext } from '../request';
import { admits } from './core';
import { checkRequest, takeCloseOptions } from './options';
import { eachToken, restoreError, type Order, type Report, type WorkerSetup, type WorkerState } from './protocol';
import { ChunkStream, followSignal } from './stream';
import type { CloseOptions, Engine, EngineHealth, EngineRequest, EngineStats, EngineStream, ModelFacts } from './types';

/** What a load tells while it runs, and what ends it. */
type LoadReports = Pick<LoadOptions, 'onPlan' | 'onProgress' | 'signal'>;

/** A worker that has loaded its model. */
interface Started {
  readonly worker: Worker;
  readonly model: ModelFacts;
  readonly maxSequences: number;
  readonly state: WorkerState;
}

/** Starts a worker and waits until its model is loaded. */
function start(url: URL, setup: WorkerSetup, { onPlan, onProgress, signal }: LoadReports): Promise<Started> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const worker = new Worker(url, { workerData: setup, name: 'megamoe' });
    const settle = (): void => {
      unfollow();
      worker.off('message', hear).off('error', die).off('exit', exit);
    };
    const die = (cause: unknown): void => {
      settle();
      reject(new WorkerError(`openEngine: the worker could not be started: ${String(cause)}`, { cause }));
    };
    const exit = (code: number): void => die(`it ended with code ${code} while loading`);
    const hear = (report: Report): void => {
      if (report.type === 'plan') onPlan?.(report.plan);
      else if (report.type === 'progress') onProgress?.(report.done, report.total, report.name);
      else if (report.type === 'failed') {
        settle();
        reject(restoreError(report.error));
      } else if (report.type === 'ready') {
        settle();
        const { model, maxSequences, state } = report;
        resolve({ worker, model, maxSequences, state });
      }
    };
    const unfollow = followSignal(signal, (reason) => {
      settle();
      void worker.terminate();
      reject(reason as Error);
    });
    worker.on('message', hear).on('error', die).on('exit', exit);
  });
}

/**
 * An engine whose model runs in a worker thread: the event loop stays free while steps run. Requests are checked and encoded here, tokens are
 * drawn and turned into text there.
 */
export class WorkerEngine implements Engine {
  readonly model: ModelFacts;
  readonly #maxSequences: number;
  readonly #context: RequestContext;
  readonly #streams = new Map<number, ChunkStream>();
  #worker: Worker;
  #state: WorkerState;
  #lastId = 0;
  #status: EngineHealth['status'] = 'ready';
  #error: Error | undefined;
  #refused = 0;
  #idle: (() => void)[] = [];
  #closing: Promise<void> | undefined;
  #restarting: Promise<void> | undefined;

  private constructor(
    private readonly url: URL,
    private readonly setup: WorkerSetup,
    { worker, state, model, maxSequences }: Started,
    tokenizer: Tokenizer | null,
  ) {
    const noTokenizer = (): never => {
      throw new ValueError('Engine.tokenizer: the checkpoint has no tokenizer.json; give token ids instead of text');
    };
    this.#context = {
      config: model.config,
      generationConfig: model.generationConfig,
      hasTokenizer: tokenizer !== null,
      get tokenizer() {
        return tokenizer ?? noTokenizer();
      },
    };
    this.model = model;
    this.#maxSequences = maxSequences;
    this.#worker = worker;
    this.#state = state;
    this.#attend(worker);
  }

  /** Starts the worker. @throws what the load throws; WorkerError when there can be no worker */
  static async open(url: URL, setup: WorkerSetup, reports: LoadReports): Promise<WorkerEngine> {
    const started = await start(url, setup, reports);
    try {
      const { directory } = setup;
      return new WorkerEngine(
        url,
        setup,
        started,
        isThere(join(directory, 'tokenizer.json')) ? loadTokenizer(directory) : null,
      );
    } catch (error) {
      await started.worker.terminate();
      throw error;
    }
  }

  get hasTokenizer(): boolean {
    return this.#context.hasTokenizer;
  }

  get tokenizer(): Tokenizer {
    return this.#context.tokenizer;
  }

  /** Requests that the worker has not heard of count as waiting. */
  checkAdmission(): void {
    if (this.#status !== 'ready') throw this.#error ?? new EngineClosedError();
    const { load, seen, stats } = this.#state;
    const queued = Math.min(load.queued + (this.#lastId - seen), this.#streams.size); // it may not have heard of cancellations either
    if (admits({ queued, free: load.free }, stats.maxQueue)) return;
    this.#refused++;
    throw new QueueFullError(queued, stats.maxQueue);
  }

  submit(request: EngineRequest): EngineStream {
    this.checkAdmission();
    const limits = { maxTokens: this.model.maxTokens, maxSequences: this.#maxSequences };
    const checked = checkRequest(this.#context, limits, request);
    const { signal } = request;
    const stream = new ChunkStream(Array.from(checked.promptIds), false);
    if (signal?.aborted) {
      stream.fail(signal.reason);
      return stream;
    }
    const id = ++this.#lastId;
    if (this.#streams.size === 0) this.#worker.ref();
    this.#streams.set(id, stream);
    this.#order({ type: 'add', id, request: checked });
    stream.onCancel = (reason) => {
      this.#order({ type: 'cancel', id });
      this.#forget(id);
      stream.fail(reason);
    };
    stream.onFinish = (index) => this.#order({ type: 'finish', id, index });
    stream.onEnd = followSignal(signal, (reason) => stream.cancel(reason));
    return stream;
  }

  stats(): EngineStats {
    const { stats, seen } = this.#state;
    const { finished } = stats;
    const isAlive = this.#status === 'ready' || this.#status === 'draining';
    return {
      ...stats,
      running: isAlive ? stats.running : 0,
      waiting: isAlive ? stats.waiting + (this.#lastId - seen) : 0,
      finished: { ...finished, refused: finished.refused + this.#refused },
    };
  }

  health(): EngineHealth {
    return this.#error === undefined ? { status: this.#status } : { status: this.#status, error: this.#error };
  }

  async close(options: CloseOptions = {}): Promise<void> {
    const { drain, timeoutMs } = takeCloseOptions(options);
    if (this.#closing && drain) return this.#closing;
    this.#closing = this.#close(drain, timeoutMs);
    return this.#closing;
  }

  async #close(drain: boolean, timeoutMs: number | undefined): Promise<void> {
    if (this.#status === 'closed') return;
    if (drain && this.#status === 'ready') {
      this.#status = 'draining';
      this.#error = new EngineClosedError('Engine: the engine is closing and takes no more requests');
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        if (this.#streams.size === 0) return resolve();
        this.#idle.push(resolve);
        if (timeoutMs !== undefined) timer = setTimeout(resolve, timeoutMs);
      });
      clearTimeout(timer);
    }
    this.#status = 'closed';
    this.#error = undefined;
    this.#failAll(new EngineClosedError());
    await this.#worker.terminate();
  }

  restart(): Promise<void> {
    this.#restarting ??= this.#restart().finally(() => (this.#restarting = undefined));
    return this.#restarting;
  }

  async #restart(): Promise<void> {
    if (this.#status === 'closed' || this.#status === 'draining') throw new EngineClosedError();
    this.#fail(new WorkerError('Engine: the worker is being restarted'));
    await this.#worker.terminate();
    const { worker, state } = await start(this.url, this.setup, {});
    if ((this.#status as string) === 'closed') {
      await worker.terminate();
      throw new EngineClosedError();
    }
    this.#worker = worker;
    this.#state = { ...state, seen: this.#lastId };
    this.#status = 'ready';
    this.#error = undefined;
    this.#attend(worker);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Listens to a worker; one that nobody waits for does not keep the process alive. */
  #attend(worker: Worker): void {
    let cause: unknown;
    worker.on('error', (error) => (cause = error));
    worker.on('exit', (code) => {
      if (worker !== this.#worker || this.#status === 'closed') return;
      const why = cause === undefined ? `with code ${code}` : `with ${String(cause)}`;
      this.#fail(new WorkerError(`Engine: the worker has died ${why}; restart() brings it back`, { cause }));
    });
    worker.on('message', (report: Report) => {
      if (worker === this.#worker && report.type === 'served') this.#hear(report);
    });
    worker.unref();
  }

  #hear({ happened, state }: Extract<Report, { readonly type: 'served' }>): void {
    this.#state = state;
    for (const what of happened) {
      if ('tokens' in what) {
        eachToken(what, (id, chunk) => this.#streams.get(id)?.push(chunk));
        continue;
      }
      const stream = this.#streams.get(what.id);
      if (stream === undefined) continue; // cancelled here before the worker knew
      if ('chunk' in what) stream.push(what.chunk);
      else {
        this.#forget(what.id);
        if ('error' in what) stream.fail(restoreError(what.error));
        else stream.end();
      }
    }
  }

  #order(order: Order): void {
    this.#worker.postMessage(order);
  }

  #forget(id: number): void {
    this.#streams.delete(id);
    if (this.#streams.size > 0) return;
    if (this.#status !== 'failed') this.#worker.unref();
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  #fail(error: Error): void {
    this.#status = 'failed';
    this.#error = error;
    this.#failAll(error);
  }

  #failAll(error: Error): void {
    for (const [id, stream] of [...this.#streams]) {
      this.#forget(id);
      stream.fail(error);
    }
  }
}
