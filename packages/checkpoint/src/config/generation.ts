import { join } from 'node:path';
import { checkFunction, checkInteger, checkString } from '@megamoe/core';
import * as z from 'zod/mini';
import { badFile } from '../fail';
import { settle } from '../files/replacement';
import { isThere } from '../files/there';
import { issueText, readJsonObject } from './config';
import { inWords, tokenId } from './schema';

/** What generation_config.json recommends; a field is absent when the file does not give it. */
export interface GenerationConfig {
  readonly bosTokenId?: number;
  /** Ids that end a turn. */
  readonly eosTokenIds?: readonly number[];
  /** False means greedy. */
  readonly doSample?: boolean;
  readonly temperature?: number;
  readonly topP?: number;
  /** 0 means off, as -1 and null do in files. Hugging Face would fill a missing one with 50; other engines leave it off, and so does this. */
  readonly topK?: number;
}

const schema = z.object({
  bos_token_id: z.nullish(tokenId),
  eos_token_id: z.nullish(z.union([tokenId, z.array(tokenId).check(z.minLength(1))])),
  do_sample: z.nullish(z.boolean()),
  temperature: z.nullish(z.number().check(z.nonnegative())),
  top_p: z.nullish(z.number().check(z.gt(0), z.maximum(1))),
  top_k: z.nullish(z.int().check(z.minimum(-1))), // vLLM writes -1 for off
});

/** Fields that only recommend: nothing here computes with them, so a bad one need not keep a checkpoint closed. */
const RECOMMENDED: ReadonlySet<unknown> = new Set(['do_sample', 'temperature', 'top_p', 'top_k']);

/**
 * Reads `DIR/generation_config.json`; `undefined` when there is none. Throws CheckpointError when a field has a bad value or a token id is
 * not below `vocabSize`.
 *
 * @param onOdd when given, it is told of recommendations (sampling, not token ids) with a bad value, which then count as absent
 */
export function readGenerationConfig(
  dir: string,
  vocabSize = Infinity,
  onOdd?: (warning: string) => void,
): GenerationConfig | undefined {
  const fn = 'readGenerationConfig';
  checkString(fn, 'dir', dir);
  if (vocabSize !== Infinity) checkInteger(fn, 'vocabSize', vocabSize, 1);
  if (onOdd !== undefined) checkFunction(fn, 'onOdd', onOdd);
  settle(dir);
  const path = join(dir, 'generation_config.json');
  if (!isThere(path)) return undefined;
  const json = readJsonObject(path);
  let checked = schema.safeParse(json, inWords);
  const odd = checked.success || !onOdd ? [] : checked.error.issues.filter((i) => RECOMMENDED.has(i.path[0]));
  if (odd.length > 0) {
    for (const { path: at, message } of odd)
      onOdd!(`generation_config.json: ${at.join('.')}: ${message}; it counts as absent`);
    const without = Object.fromEntries(Object.entries(json).filter(([key]) => !odd.some((i) => i.path[0] === key)));
    checked = schema.safeParse(without, inWords);
  }
  if (!checked.success) throw badFile(path, issueText(checked.error));
  const { bos_token_id: bos, eos_token_id: eos, do_sample, temperature, top_p, top_k } = checked.data;
  const eosTokenIds = typeof eos === 'number' ? [eos] : eos;
  for (const id of [bos ?? 0, ...(eosTokenIds ?? [])]) {
    if (id >= vocabSize) throw badFile(path, `token id: expected below vocab_size = ${vocabSize}, found ${id}`);
  }
  return {
    ...(typeof bos === 'number' ? { bosTokenId: bos } : {}),
    ...(eosTokenIds ? { eosTokenIds } : {}),
    ...(typeof do_sample === 'boolean' ? { doSample: do_sample } : {}),
    ...(typeof temperature === 'number' ? { temperature } : {}),
    ...(typeof top_p === 'number' ? { topP: top_p } : {}),
    ...(typeof top_k === 'number' ? { topK: Math.max(0, top_k) } : {}),
  };
}
