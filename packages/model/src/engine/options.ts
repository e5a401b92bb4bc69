import { checkInteger, checkNumber, checkObject, checkOneOf, checkSignal, KindError, ValueError } from '@megamoe/core';
import { sequenceBytes, type LayerSpec } from '@megamoe/ops';
import { checkRequestNames, prepareRequest, type RequestContext } from '../request';
import type { Model } from '../model';
import type { CoreLimits } from './core';
import type { CoreRequest } from './job';
import type { CloseOptions, EngineRequest } from './types';

/** Limits of an engine; what is left out has a default. */
export interface EngineLimits {
  /** Most sequences that run at a time. Default 64. */
  readonly maxSequences?: number | undefined;
  /** Most requests that wait; one more is refused with a QueueFullError. Default 256. */
  readonly maxQueue?: number | undefined;
  /** Most rows of a step, decodes and prompts together. Default: the model's `maxChunk`, which is the most that can be. */
  readonly maxStepTokens?: number | undefined;
  /** Most bytes of KV pages, kept prefixes included. Default 4 GiB, or one sequence as long as the model takes if that is more. */
  readonly kvBytes?: number | undefined;
  /** Most bytes of them that kept prefixes may hold; 0 keeps none. Default: half of `kvBytes`. */
  readonly cacheBytes?: number | undefined;
  /** Most milliseconds that prompts may add to a step in which others decode. Default 100. */
  readonly promptMs?: number | undefined;
  /**
   * What becomes of a sequence that is put back when memory runs out: its state is saved in RAM (default), or computed again. Its tokens are
   * the same either way.
   */
  readonly preemption?: 'save' | 'recompute' | undefined;
}

/** Names of {@link EngineLimits}. */
export const LIMIT_NAMES = [
  'maxSequences',
  'maxQueue',
  'maxStepTokens',
  'kvBytes',
  'cacheBytes',
  'promptMs',
  'preemption',
] as const;

const DEFAULT_KV_BYTES = 4 * 2 ** 30;

/** Limits with the defaults for a model. @throws ValueError naming what cannot be */
export function resolveLimits(
  fn: string,
  o: EngineLimits,
  {
    layers,
    maxTokens,
    maxChunk,
  }: { readonly layers: readonly LayerSpec[]; readonly maxTokens: number; readonly maxChunk: number },
): CoreLimits {
  const { maxSequences = 64, maxQueue = 256, maxStepTokens = maxChunk, promptMs = 100, preemption = 'save' } = o;
  checkInteger(fn, 'maxSequences', maxSequences, 1, 65536);
  checkInteger(fn, 'maxQueue', maxQueue, 0);
  checkInteger(fn, 'maxStepTokens', maxStepTokens, 1, maxChunk);
  checkNumber(fn, 'promptMs', promptMs, 0);
  checkOneOf(fn, 'preemption', preemption, ['save', 'recompute']);
  const kvBytes = o.kvBytes ?? Math.max(DEFAULT_KV_BYTES, sequenceBytes(maxTokens, layers));
  checkNumber(fn, 'kvBytes', kvBytes, 0);
  const least = sequenceBytes(Math.min(maxTokens, 256), layers);
  if (kvBytes < least) {
    throw new ValueError(
      `${fn}: "kvBytes" must be at least ${least}, the pages of 256 tokens of this model, got ${kvBytes}`,
    );
  }
  const cacheBytes = o.cacheBytes ?? Math.floor(kvBytes / 2);
  checkNumber(fn, 'cacheBytes', cacheBytes, 0);
  return {
    maxSequences,
    maxQueue,
    maxStepTokens,
    kvBytes,
    cacheBytes: Math.min(cacheBytes, kvBytes),
    promptMs,
    preemption,
  };
}

/** Limits of an engine of a model. @throws ValueError naming what cannot be */
export function limitsFor(fn: string, o: EngineLimits, { memory, config, maxChunk }: Model): CoreLimits {
  return resolveLimits(fn, o, { layers: memory.layers, maxTokens: config.maxPositionEmbeddings, maxChunk });
}

const LONGEST_TIMER = 2 ** 31 - 1; // in milliseconds: a longer one would ring at once

/** How to close, each option read once. @throws KindError, ValueError naming the option */
export function takeCloseOptions(options: CloseOptions): { drain: boolean; timeoutMs: number | undefined } {
  const fn = 'Engine.close';
  checkObject(fn, 'options', options);
  const { drain = false, timeoutMs } = options;
  if (typeof drain !== 'boolean') throw new KindError(`${fn}: "drain" must be true or false, got ${typeof drain}`);
  if (timeoutMs !== undefined && timeoutMs !== Infinity) checkNumber(fn, 'timeoutMs', timeoutMs, 0);
  return { drain, timeoutMs: timeoutMs === undefined || timeoutMs > LONGEST_TIMER ? undefined : timeoutMs };
}

/** The longest sequence whose pages fit into `kvBytes`, at most `maxTokens`. */
export function longestIn(kvBytes: number, maxTokens: number, layers: readonly LayerSpec[]): number {
  let [low, high] = [0, maxTokens];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (sequenceBytes(middle, layers) <= kvBytes) low = middle;
    else high = middle - 1;
  }
  return low;
}

const OWN_NAMES = ['n', 'priority', 'cacheKey', 'reusePrefix', 'promptLogprobs', 'progress', 'signal'];

/** Checks a request to an engine and fills in its defaults. @throws as `Engine.submit` says */
export function checkRequest(
  model: RequestContext,
  { maxTokens, maxSequences }: { readonly maxTokens: number; readonly maxSequences: number },
  o: EngineRequest,
): CoreRequest {
  const fn = 'Engine.submit';
  checkRequestNames(fn, o, OWN_NAMES);
  const { n = 1, priority = 0, cacheKey = '', reusePrefix = true, promptLogprobs, progress = false, signal } = o;
  checkInteger(fn, 'n', n, 1, maxSequences);
  checkInteger(fn, 'priority', priority, Number.MIN_SAFE_INTEGER);
  if (typeof cacheKey !== 'string') throw new KindError(`${fn}: "cacheKey" must be a string, got ${typeof cacheKey}`);
  for (const [name, value] of Object.entries({ reusePrefix, progress })) {
    if (typeof value !== 'boolean') throw new KindError(`${fn}: "${name}" must be true or false, got ${typeof value}`);
  }
  if (promptLogprobs !== undefined) {
    checkInteger(fn, 'promptLogprobs', promptLogprobs, 0, model.config.vocabSize);
  }
  if (signal !== undefined) checkSignal(fn, 'signal', signal);
  const prepared = prepareRequest(fn, model, maxTokens, o);
  return { ...prepared, n, priority, cacheKey, reusePrefix, promptLogprobs, progress };
}
