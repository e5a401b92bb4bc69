import type { Tokenizer } from '@megamoe/checkpoint';
import { Worker } from 'node:worker_threads';
import { ApiError, ClientGone } from '../errors';
import type { Logger } from '../log';
import { answerOrder, sizeOf, type TokenizerOrder, type TokenizerReport, type TokenizerResult } from './orders';

/** Orders of at most so many characters are answered at once: that takes 15 ms or so. */
export const SHORT = 4096;

/** What may wait for the thread. */
export interface ThreadLimits {
  /** Most orders. */
  readonly maxOrders: number;
  /** Most characters of all of them. */
  readonly maxCharacters: number;
}

interface Job {
  readonly order: TokenizerOrder;
  readonly size: number;
  readonly resolve: (result: TokenizerResult) => void;
  readonly reject: (error: unknown) => void;
}

/** The thread beside this module, once that is built. */
export const WORKER = new URL('./tokenizer-worker.js', import.meta.url);

/**
 * A tokenizer that answers long orders in a thread of its own, one after the other, so that others are served meanwhile. The thread is started
 * for the first of them. Where there can be none, orders are answered here.
 */
export class TokenizerThread {
  readonly #waiting: Job[] = [];
  #current: Job | undefined;
  #characters = 0;
  #worker: Worker | undefined;
  #isUp = false;
  /** There is no folder to load the tokenizer from again, or a thread has never come up. */
  #isHere: boolean;
  #isClosed = false;

  constructor(
    readonly tokenizer: Tokenizer,
    private readonly limits: ThreadLimits,
    private readonly log: Logger = () => undefined,
    private readonly url: URL = WORKER,
  ) {
    this.#isHere = tokenizer.directory === undefined;
  }

  /** The ids of each text. @throws as {@link ask} */
  async encode(texts: readonly { readonly text: string; readonly parseSpecial: boolean }[], signal?: AbortSignal) {
    return (await this.ask({ encode: texts }, signal)) as readonly (readonly number[])[];
  }

  /** The text of ids. @throws as {@link ask} */
  async decode(ids: readonly number[], signal?: AbortSignal): Promise<string> {
    return (await this.ask({ decode: ids }, signal)) as string;
  }

  /** The text of each id. @throws as {@link ask} */
  async pieces(ids: readonly number[], signal?: AbortSignal): Promise<readonly string[]> {
    return (await this.ask({ pieces: ids }, signal)) as readonly string[];
  }

  /**
   * @throws ApiError 429 when too much waits, 500 when the thread dies over it; ClientGone as soon as `signal` fires; what the tokenizer throws
   */
  async ask(order: TokenizerOrder, signal?: AbortSignal): Promise<TokenizerResult> {
    const size = sizeOf(order);
    if (size <= SHORT || this.#isHere) return answerOrder(this.tokenizer, order);
    const { maxOrders, maxCharacters } = this.limits;
    if (this.#waiting.length >= maxOrders || this.#characters + size > Math.max(maxCharacters, size)) {
      throw new ApiError(429, 'rate_limit_error', 'Too many long prompts wait to be encoded; try again later.', {
        code: 'queue_full',
        retryAfter: 1,
      });
    }
    if (signal?.aborted) throw new ClientGone('the client went away');
    return new Promise((resolve, reject) => {
      const job: Job = {
        order,
        size,
        resolve: (result) => settle(() => resolve(result)),
        reject: (error) => settle(() => reject(error as Error)),
      };
      const leave = (): void => {
        const at = this.#waiting.indexOf(job);
        if (at >= 0) this.#waiting.splice(at, 1);
        job.reject(new ClientGone('the client went away'));
      };
      let isSettled = false;
      const settle = (done: () => void): void => {
        if (isSettled) return;
        isSettled = true;
        signal?.removeEventListener('abort', leave);
        this.#characters -= size;
        done();
      };
      this.#characters += size;
      this.#waiting.push(job);
      signal?.addEventListener('abort', leave, { once: true });
      this.#next();
    });
  }

  /** Ends the thread; what waits for it fails. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const worker = this.#worker;
    this.#fail(new Error('the server has stopped'));
    await worker?.terminate();
  }

  #next(): void {
    if (this.#current !== undefined) return;
    this.#current = this.#waiting.shift();
    if (this.#current === undefined) return;
    if (this.#isClosed) return this.#fail(new Error('the server has stopped'));
    if (this.#worker === undefined) this.#start();
    this.#worker?.postMessage(this.#current.order);
  }

  #start(): void {
    const { directory } = this.tokenizer;
    const worker = new Worker(this.url, { workerData: { directory }, name: 'megamoe-tokenizer' });
    this.#worker = worker;
    this.#isUp = false;
    worker.unref();
    let cause: unknown;
    worker.on('error', (error) => (cause = error));
    worker.on('exit', (code) => {
      if (worker === this.#worker) this.#died(cause ?? new Error(`it ended with code ${code}`));
    });
    worker.on('message', (report: TokenizerReport) => {
      if (worker === this.#worker) this.#hear(report);
    });
  }

  #hear(report: TokenizerReport): void {
    if ('ready' in report) {
      this.#isUp = true;
      return;
    }
    const job = this.#current!;
    this.#current = undefined;
    if ('result' in report) job.resolve(report.result);
    else job.reject(Object.assign(new Error(report.error.message), { code: report.error.code }));
    this.#next();
  }

  #died(cause: unknown): void {
    this.#worker = undefined;
    this.log('error', 'tokenizer_failed', { error: String(cause) });
    const job = this.#current;
    this.#current = undefined;
    if (this.#isUp) job?.reject(new Error(`the tokenizer's thread has ended: ${String(cause)}`, { cause }));
    else {
      this.#isHere = true;
      const all = [...(job ? [job] : []), ...this.#waiting.splice(0)];
      for (const each of all) this.#answerHere(each);
    }
    this.#next();
  }

  #answerHere({ order, resolve, reject }: Job): void {
    try {
      resolve(answerOrder(this.tokenizer, order));
    } catch (error) {
      reject(error);
    }
  }

  #fail(error: Error): void {
    const all = [...(this.#current ? [this.#current] : []), ...this.#waiting.splice(0)];
    this.#current = undefined;
    this.#worker = undefined;
    for (const { reject } of all) reject(error);
  }
}
