import { checkInteger } from '@megamoe/core';
import type { Sink } from './job';
import type { EngineChunk, EngineStream } from './types';

interface Reader {
  readonly resolve: (result: IteratorResult<EngineChunk, undefined>) => void;
  readonly reject: (reason: unknown) => void;
}

/** Chunks between who makes them and who reads them. */
export class ChunkStream implements EngineStream, Sink {
  readonly #chunks: EngineChunk[] = [];
  readonly #readers: Reader[] = [];
  #read = 0;
  #ended = false;
  #error: { readonly reason: unknown } | undefined;
  /** Ends the request behind it. */
  onCancel: (reason: unknown) => void = () => undefined;
  /** Ends one answer of it. */
  onFinish: (index: number) => void = () => undefined;
  /** Told when somebody reads on. */
  onWant: () => void = () => undefined;
  /** Called once, when nothing more comes. */
  onEnd: () => void = () => undefined;

  /**
   * @param isLazy chunks are made only when somebody waits for one; else as fast as they come
   */
  constructor(
    readonly promptTokenIds: readonly number[],
    private readonly isLazy: boolean,
  ) {}

  get wants(): boolean {
    return !this.isLazy || (this.#readers.length > 0 && this.#read === this.#chunks.length);
  }

  push(chunk: EngineChunk): void {
    const reader = this.#readers.shift();
    if (reader) reader.resolve({ value: chunk, done: false });
    else this.#chunks.push(chunk);
  }

  end(): void {
    this.#ended = true;
    for (const { resolve } of this.#readers.splice(0)) resolve({ value: undefined, done: true });
    this.onEnd();
  }

  fail(reason: unknown): void {
    if (this.#ended || this.#error) return;
    const [first, ...rest] = this.#readers.splice(0);
    if (first) {
      this.#ended = true;
      first.reject(reason);
    } else this.#error = { reason };
    for (const { resolve } of rest) resolve({ value: undefined, done: true });
    this.onEnd();
  }

  /** A stream that has failed or ended stays so. */
  cancel(reason?: unknown): void {
    if (this.#ended || this.#error) return;
    this.#chunks.length = 0; // what nobody has read is of no use any more
    this.#read = 0;
    this.onCancel(reason ?? new DOMException('The request was cancelled', 'AbortError'));
  }

  finish(index: number): void {
    checkInteger('EngineStream.finish', 'index', index, 0);
    if (!this.#ended && !this.#error) this.onFinish(index);
  }

  next(): Promise<IteratorResult<EngineChunk, undefined>> {
    if (this.#read < this.#chunks.length) {
      const value = this.#chunks[this.#read++]!;
      if (this.#read === this.#chunks.length) {
        this.#chunks.length = 0;
        this.#read = 0;
      }
      return Promise.resolve({ value, done: false });
    }
    if (this.#error) {
      const { reason } = this.#error;
      this.#error = undefined;
      this.#ended = true;
      return Promise.reject(reason);
    }
    if (this.#ended) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => {
      this.#readers.push({ resolve, reject });
      this.onWant();
    });
  }

  /** Leaving the loop. */
  return(): Promise<IteratorResult<EngineChunk, undefined>> {
    this.cancel();
    this.#error = undefined;
    this.#ended = true;
    this.#chunks.length = 0;
    this.#read = 0;
    for (const { resolve } of this.#readers.splice(0)) resolve({ value: undefined, done: true });
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** Ends a stream when its signal fires; what is done with it must be called when the stream has ended. */
export function followSignal(signal: AbortSignal | undefined, cancel: (reason: unknown) => void): () => void {
  if (signal === undefined) return () => undefined;
  const abort = (): void => cancel(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  return () => signal.removeEventListener('abort', abort);
}
