import { existsSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod/mini';
import { badFile } from '../fail';
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
  /** 0 means off. Hugging Face would fill a missing one with 50; other engines leave it off, and so does this. */
  readonly topK?: number;
}

const schema = z.object({
  bos_token_id: z.nullish(tokenId),
  eos_token_id: z.nullish(z.union([tokenId, z.array(tokenId).check(z.minLength(1))])),
  do_sample: z.nullish(z.boolean()),
  temperature: z.nullish(z.number().check(z.nonnegative())),
  top_p: z.nullish(z.number().check(z.gt(0), z.maximum(1))),
  top_k: z.nullish(z.int().check(z.nonnegative())),
});

/**
 * Reads `DIR/generation_config.json`; `undefined` when there is none. Throws CheckpointError when a field has a bad value or a token id is
 * not below `vocabSize`.
 */
export function readGenerationConfig(dir: string, vocabSize = Infinity): GenerationConfig | undefined {
  const path = join(dir, 'generation_config.json');
  if (!existsSync(path)) return undefined;
  const checked = schema.safeParse(readJsonObject(path), inWords);
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
    ...(typeof top_k === 'number' ? { topK: top_k } : {}),
  };
}
