import { CheckpointError, KindError, ShapeError, UnsupportedError, ValueError } from '@megamoe/core';
import { EngineClosedError } from '../errors';
import type { LoadOptions } from '../load';
import type { MemoryPlan } from '../plan';
import type { EngineLimits } from './options';
import type { CoreLoad } from './core';
import type { CoreRequest } from './job';
import type { EngineChunk, EngineStats, ModelFacts } from './types';

/** What a worker loads and serves: `workerData`. */
export interface WorkerSetup {
  readonly directory: string;
  readonly id: string;
  readonly load: Omit<LoadOptions, 'onPlan' | 'onProgress' | 'signal'>;
  readonly limits: EngineLimits;
  /** Which reports of the load are wanted. */
  readonly reports: { readonly plan: boolean; readonly progress: boolean };
}

/** To the worker. */
export type Order =
  | { readonly type: 'add'; readonly id: number; readonly request: CoreRequest }
  | { readonly type: 'finish'; readonly id: number; readonly index: number }
  | { readonly type: 'cancel'; readonly id: number };

/**
 * Chunks of one token and its text, of many requests: there is one for each sequence in every step, and as objects they would take ten times
 * as long to pass between threads.
 */
export interface TokenBatch {
  /** Three numbers each: the request, which of its answers, the token. */
  readonly tokens: Float64Array;
  readonly texts: readonly string[];
}

/** What happened to a request, or to many. */
export type Happening =
  | TokenBatch
  | { readonly id: number; readonly chunk: EngineChunk }
  | { readonly id: number; readonly ended: true }
  | { readonly id: number; readonly error: FlatError };

/** Gathers what happens in a step, in order. */
export class Happenings {
  #all: Happening[] = [];
  #tokens: number[] = [];
  #texts: string[] = [];

  chunk(id: number, chunk: EngineChunk): void {
    if (!isPlain(chunk)) return this.add({ id, chunk });
    this.#tokens.push(id, chunk.index, chunk.tokenIds[0]!);
    this.#texts.push(chunk.text);
  }

  add(what: Happening): void {
    this.#close();
    this.#all.push(what);
  }

  take(): readonly Happening[] {
    this.#close();
    const all = this.#all;
    this.#all = [];
    return all;
  }

  #close(): void {
    if (this.#texts.length === 0) return;
    this.#all.push({ tokens: Float64Array.from(this.#tokens), texts: this.#texts });
    this.#tokens = [];
    this.#texts = [];
  }
}

/** Whether a chunk is one token and its text and nothing else. */
function isPlain(chunk: EngineChunk): boolean {
  if (chunk.tokenIds.length !== 1) return false;
  for (const name in chunk) if (name !== 'index' && name !== 'tokenIds' && name !== 'text') return false;
  return true;
}

/** Hands on the chunks of a batch, each with the number of its request. */
export function eachToken({ tokens, texts }: TokenBatch, take: (id: number, chunk: EngineChunk) => void): void {
  texts.forEach((text, i) => take(tokens[3 * i]!, { index: tokens[3 * i + 1]!, tokenIds: [tokens[3 * i + 2]!], text }));
}

/** How an engine stands after the orders that it has seen. */
export interface WorkerState {
  /** The last request that was taken in. */
  readonly seen: number;
  readonly load: CoreLoad;
  readonly stats: EngineStats;
}

/** From the worker. */
export type Report =
  | { readonly type: 'plan'; readonly plan: MemoryPlan }
  | { readonly type: 'progress'; readonly done: number; readonly total: number; readonly name: string }
  | { readonly type: 'ready'; readonly model: ModelFacts; readonly maxSequences: number; readonly state: WorkerState }
  | { readonly type: 'failed'; readonly error: FlatError }
  | { readonly type: 'served'; readonly happened: readonly Happening[]; readonly state: WorkerState };

/** An error as plain data: cloning one between threads loses its class and its code. */
export interface FlatError {
  readonly name: string;
  readonly message: string;
  readonly code: string | undefined;
  readonly stack: string | undefined;
  readonly file: string | undefined;
  readonly tensor: string | undefined;
}

/** An error, or whatever was thrown, as plain data. */
export function flattenError(error: unknown): FlatError {
  const e = (error instanceof Error ? error : new Error(String(error))) as Error & Record<string, unknown>;
  const text = (key: string): string | undefined => (typeof e[key] === 'string' ? e[key] : undefined);
  const { name, message, stack } = e;
  return { name, message, stack, code: text('code'), file: text('file'), tensor: text('tensor') };
}

const CLASSES: Readonly<Record<string, new (message: string) => Error>> = {
  ERR_VALUE: ValueError,
  ERR_KIND: KindError,
  ERR_SHAPE: ShapeError,
  ERR_UNSUPPORTED: UnsupportedError,
  ERR_ENGINE_CLOSED: EngineClosedError,
};

/** The error that was flattened, of its class where that is one of the project's; the stack is the worker's. */
export function restoreError({ name, message, code, stack, file, tensor }: FlatError): Error {
  const own = code === undefined ? undefined : CLASSES[code];
  let error: Error;
  if (code === 'ERR_CHECKPOINT') {
    error = new CheckpointError(message, {
      ...(file === undefined ? {} : { file }),
      ...(tensor === undefined ? {} : { tensor }),
    });
  } else if (own !== undefined) error = new own(message);
  else error = Object.assign(new Error(message), { name }, code === undefined ? {} : { code });
  if (stack !== undefined) error.stack = stack;
  return error;
}
