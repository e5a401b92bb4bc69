import {
  encodeChatPrompt,
  type ChatMessage,
  type GenerationConfig,
  type ModelConfig,
  type Tokenizer,
} from '@megamoe/checkpoint';
import { checkInteger, KindError, ShapeError, ValueError } from '@megamoe/core';
import type { Backend } from '@megamoe/ops';
import { Sampler, StopChecker, type SamplingParams, type TokenLogprob } from '@megamoe/sampler';
import type { Sequence } from './sequence';
import type { BatchItem } from './step-runner';
import { checkTokenIds } from './token-ids';

/** What a generation needs of a model; a `Model` is one. */
export interface TextModel {
  readonly backend: Pick<Backend, 'logitsScan'>;
  readonly config: ModelConfig;
  readonly generationConfig: GenerationConfig | undefined;
  readonly maxChunk: number;
  readonly hasTokenizer: boolean;
  readonly tokenizer: Tokenizer;
  createSequence(): Sequence;
  forward(batch: readonly BatchItem[], options: { readonly logits?: 'none'; readonly out?: Float32Array }): unknown;
}

/** What to continue; give exactly one of the three. */
export interface Prompt {
  /** Text to complete; the beginning-of-sentence token is put before it. Special tokens written in it count as such. */
  readonly prompt?: string | undefined;
  /** A conversation; special tokens written in its text stay text. */
  readonly messages?: readonly ChatMessage[] | undefined;
  /** Token ids as they are, nothing added. */
  readonly tokenIds?: ArrayLike<number> | undefined;
}

/** What to generate from a prompt, and how. */
export interface GenerateOptions extends Prompt, SamplingParams {
  /** Most tokens to generate; default: what the context still holds, at most 4096. */
  readonly maxTokens?: number;
  /** Texts that end the generation; left out of the text. */
  readonly stop?: readonly string[];
  /** Token ids that end it, besides the model's own. */
  readonly stopIds?: readonly number[];
  /** Go on after the model's own turn-ending tokens. */
  readonly ignoreEos?: boolean;
  /** Index of this sequence among those of one seed; equal (seed, sequence, position) draw the same number. */
  readonly sequenceIndex?: number;
  readonly signal?: AbortSignal;
}

/** Why a generation ended. */
export type FinishReason = 'stop' | 'length';

/** Figures of a whole generation. */
export interface GenerateUsage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Milliseconds from the call to the first token's logits. */
  readonly prefillMs: number;
  /** Milliseconds of all steps after it. */
  readonly decodeMs: number;
}

/** One step of a generation: a token, and the text that may be shown now (held back while it could become a stop text). */
export interface GenerateChunk {
  readonly text: string;
  readonly tokenId: number;
  readonly logprob?: number;
  readonly topLogprobs?: readonly TokenLogprob[];
  /** Set on the last chunk. */
  readonly finishReason?: FinishReason;
  /** What ended it, when `finishReason` is `stop`: a token id or a text. */
  readonly stop?: { readonly tokenId?: number; readonly text?: string };
  /** Set on the last chunk. */
  readonly usage?: GenerateUsage;
}

/** Most tokens generated when nobody says how many. */
export const DEFAULT_MAX_TOKENS = 4096;

/** Special tokens that start a new turn: a model that emits one has ended its own. */
const TURN_STARTS = ['<｜User｜>'];

/** Token ids of a prompt, as {@link generate} would feed them. */
export function promptTokenIds(model: TextModel, o: Prompt): number[] {
  const given = [o.prompt, o.messages, o.tokenIds].filter((x) => x !== undefined).length;
  if (given !== 1)
    throw new ValueError(`generate: give exactly one of "prompt", "messages" and "tokenIds", got ${given}`);
  if (o.tokenIds !== undefined) return Array.from(o.tokenIds);
  if (o.messages !== undefined) return encodeChatPrompt(model.tokenizer, o.messages);
  if (typeof o.prompt !== 'string') throw new KindError(`generate: "prompt" must be a string, got ${typeof o.prompt}`);
  const bos = model.config.bosTokenId;
  const ids = model.tokenizer.encode(o.prompt);
  return ids[0] === bos ? ids : [bos, ...ids];
}

/** Ids that end a turn: the checkpoint's, and as a safety net those that begin a sentence or a user's turn. */
export function stopTokenIds(model: TextModel): number[] {
  const ids = new Set([
    ...model.config.eosTokenIds,
    ...(model.generationConfig?.eosTokenIds ?? []),
    model.config.bosTokenId,
  ]);
  for (const name of model.hasTokenizer ? TURN_STARTS : []) {
    const id = model.tokenizer.specialIds.get(name);
    if (id !== undefined) ids.add(id);
  }
  return [...ids];
}

/** Lets timers, signals and I/O run between two steps. */
const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * Generates token by token. Greedy when `temperature` is 0 or left out.
 * @throws ValueError for an empty or too long prompt, a token id out of range or a sampling knob out of range; the abort reason as
 * soon as `signal` fires.
 */
export async function* generate(model: TextModel, o: GenerateOptions): AsyncGenerator<GenerateChunk, void, undefined> {
  const started = performance.now();
  const { prompt, messages, tokenIds, maxTokens: asked, stop: stopTexts = [], stopIds: more = [], ...rest } = o;
  const { ignoreEos = false, sequenceIndex: index, signal, ...knobs } = rest;
  const promptIds = promptTokenIds(model, { prompt, messages, tokenIds });
  const limit = model.config.maxPositionEmbeddings;
  if (promptIds.length === 0) throw new ValueError('generate: the prompt has no tokens; give at least one');
  if (promptIds.length >= limit) {
    throw new ShapeError(
      `generate: the prompt has ${promptIds.length} tokens, the model's limit is ${limit} with at least one to generate`,
    );
  }
  checkTokenIds('generate', promptIds, model.config.vocabSize);
  const room = limit - promptIds.length;
  const maxTokens = asked ?? Math.min(room, DEFAULT_MAX_TOKENS);
  checkInteger('generate', 'maxTokens', maxTokens, 0);
  const budget = Math.min(maxTokens, room);
  const stopIds = [...(ignoreEos ? [] : stopTokenIds(model)), ...more];
  checkTokenIds('generate', stopIds, model.config.vocabSize);
  const sampler = new Sampler({
    vocabSize: model.config.vocabSize,
    params: { ...knobs, temperature: knobs.temperature ?? 0 },
    promptIds,
    stopIds,
    ...(index === undefined ? {} : { sequence: index }),
    ...(model.backend.logitsScan ? { scan: model.backend.logitsScan } : {}),
  });
  const checker = new StopChecker({ stopIds, stopStrings: stopTexts });
  const stream = model.hasTokenizer ? model.tokenizer.createStream() : null;
  if (budget === 0) return;

  signal?.throwIfAborted();
  const sequence = model.createSequence();
  try {
    const logits = new Float32Array(model.config.vocabSize);
    for (let at = 0; at < promptIds.length; at += model.maxChunk) {
      const chunk = promptIds.slice(at, at + model.maxChunk);
      const last = at + chunk.length === promptIds.length;
      model.forward([{ sequence, tokenIds: chunk }], last ? { out: logits } : { logits: 'none' });
      await breathe();
      signal?.throwIfAborted();
    }
    const prefillMs = performance.now() - started;

    const next = [0];
    const batch = [{ sequence, tokenIds: next }];
    for (let n = 1; ; n++) {
      const { tokenId, logprob, topLogprobs } = sampler.sample(logits);
      sampler.accept(tokenId);
      const { text, stop } = checker.push(tokenId, stream?.push(tokenId) ?? '');
      const chunk = {
        tokenId,
        ...(logprob === undefined ? {} : { logprob }),
        ...(topLogprobs === undefined ? {} : { topLogprobs }),
      };
      if (stop || n === budget) {
        const usage = {
          promptTokens: promptIds.length,
          completionTokens: n,
          prefillMs,
          decodeMs: performance.now() - started - prefillMs,
        };
        if (!stop) {
          const rest = checker.push(tokenId, stream?.flush() ?? '').text + checker.flush();
          yield { text: text + rest, ...chunk, finishReason: 'length', usage };
        } else {
          const what = stop.stopString === undefined ? { tokenId: stop.tokenId ?? tokenId } : { text: stop.stopString };
          yield { text, ...chunk, finishReason: 'stop', stop: what, usage };
        }
        return;
      }
      yield { text, ...chunk };
      signal?.throwIfAborted();
      next[0] = tokenId;
      model.forward(batch, { out: logits });
      await breathe();
      signal?.throwIfAborted();
    }
  } finally {
    sequence.dispose();
  }
}
