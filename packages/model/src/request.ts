import { encodeConversation, type Message } from '@megamoe/chat';
import type { GenerationConfig, ModelConfig, Tokenizer } from '@megamoe/checkpoint';
import { checkInteger, checkObject, describe, KindError, takeStrings, ValueError } from '@megamoe/core';
import { resolveSamplingParams, StopChecker, type SamplingParams } from '@megamoe/sampler';
import { ContextLengthError } from './errors';
import { checkOptionNames } from './options';
import { takeTokenIds } from './token-ids';

/** What to continue: a text, a conversation or token ids, and one of them only. */
export type Prompt = TextPrompt | ChatPrompt | TokenPrompt;

/** A text to complete. */
export interface TextPrompt {
  /** The beginning-of-sentence token is put before it. Special tokens written in it count as such. */
  readonly prompt: string;
  readonly messages?: undefined;
  readonly tokenIds?: undefined;
  readonly chat?: undefined;
}

/** How a conversation is rendered. */
export interface ChatOptions {
  /** Ask for reasoning before the answer. Default false: the answer follows at once. */
  readonly thinking?: boolean | undefined;
  /** In thinking mode, leave out the reasoning of turns before the last user message. Default true. */
  readonly dropThinking?: boolean | undefined;
}

/** A conversation to answer. */
export interface ChatPrompt {
  /** Special tokens written in its text stay text. Tools and efforts need the checkpoint's wording: `encodeConversation` of `@megamoe/chat`. */
  readonly messages: readonly Message[];
  /** How it is rendered: `thinking` asks for reasoning before the answer. */
  readonly chat?: ChatOptions | undefined;
  readonly prompt?: undefined;
  readonly tokenIds?: undefined;
}

/** Token ids to go on from. */
export interface TokenPrompt {
  /** As they are, nothing added. */
  readonly tokenIds: ArrayLike<number>;
  readonly prompt?: undefined;
  readonly messages?: undefined;
  readonly chat?: undefined;
}

/** How to continue a prompt. */
export interface RequestOptions extends Omit<SamplingParams, 'temperature'> {
  /** Divides the logits; 0, the default, takes the likeliest token. `topK`, `topP`, `minP` and `seed` need one above 0. */
  readonly temperature?: number | undefined;
  /** Most tokens to generate; default: what the context still holds, at most 4096. With 0 the prompt is taken in, and that is all. */
  readonly maxTokens?: number | undefined;
  /** A text that ends the generation, or several; left out of the text. */
  readonly stop?: string | readonly string[] | undefined;
  /** Token ids that end it, besides the model's own. */
  readonly stopIds?: readonly number[] | undefined;
  /** Show what ended it: the stop text, or the stop token's text. Default false. */
  readonly includeStop?: boolean | undefined;
  /** Go on after the model's own turn-ending tokens. Default false. */
  readonly ignoreEos?: boolean | undefined;
  /**
   * Leave the tokens that the tokenizer marks as special out of the text, but for the `</think>` that ends reasoning which the prompt began.
   * Default true.
   */
  readonly skipSpecialTokens?: boolean | undefined;
  /**
   * Give reasoning that the prompt has begun apart from the answer, as `reasoning` of chunks, without the `</think>` between them; stop texts
   * then count in the answer alone. Default: true for `messages`, whose answer it is; false for `prompt` and `tokenIds`, which go on as text.
   */
  readonly splitReasoning?: boolean | undefined;
  /** Index of this sequence among those of one seed; equal (seed, sequence, position) draw the same number. Default 0. */
  readonly sequenceIndex?: number | undefined;
}

/** Most tokens generated when nobody says how many. */
export const DEFAULT_MAX_TOKENS = 4096;

/** Special tokens that start a turn: a model that emits one has ended its own. */
const TURN_STARTS = ['<｜User｜>', '<｜Assistant｜>'];

const PROMPT_NAMES = ['prompt', 'messages', 'tokenIds', 'chat'];

const SAMPLING_NAMES = [
  'temperature',
  'topK',
  'topP',
  'minP',
  'repetitionPenalty',
  'presencePenalty',
  'frequencyPenalty',
  'seed',
  'logitBias',
  'badWords',
  'allowedTokenIds',
  'minTokens',
  'logprobs',
] as const satisfies readonly (keyof SamplingParams)[];

/** Names of all {@link RequestOptions} and {@link Prompt}s. */
export const REQUEST_NAMES: readonly string[] = [
  ...PROMPT_NAMES,
  'maxTokens',
  ...SAMPLING_NAMES,
  'stop',
  'stopIds',
  'includeStop',
  'ignoreEos',
  'skipSpecialTokens',
  'splitReasoning',
  'sequenceIndex',
];

/** Other libraries' words for them. */
export const REQUEST_ALIASES: Readonly<Record<string, string>> = {
  max_new_tokens: 'maxTokens',
  max_completion_tokens: 'maxTokens',
  n_predict: 'maxTokens',
  num_predict: 'maxTokens',
  stop_sequences: 'stop',
  stop_strings: 'stop',
  stop_token_ids: 'stopIds',
  top_logprobs: 'logprobs',
  input: 'prompt',
  text: 'prompt',
  abort_signal: 'signal',
};

/** What prompts and stop ids are worked out from: a model, or an engine's knowledge of one. */
export interface RequestContext {
  readonly config: ModelConfig;
  readonly generationConfig: GenerationConfig | undefined;
  readonly hasTokenizer: boolean;
  /** @throws ValueError when there is none */
  readonly tokenizer: Tokenizer;
}

/** A request with everything checked and every default in place: plain data, that can go to a worker. */
export interface PreparedRequest {
  readonly promptIds: Int32Array;
  /** Most tokens to generate. */
  readonly budget: number;
  readonly params: SamplingParams;
  readonly stopIds: readonly number[];
  readonly stopTexts: readonly string[];
  readonly includeStop: boolean;
  readonly skipSpecialTokens: boolean;
  readonly splitReasoning: boolean;
  readonly sequenceIndex: number;
}

/** Token ids of a prompt. @throws ValueError, KindError for what is none */
export function promptTokenIds(model: RequestContext, o: Prompt, fn = 'generate'): number[] {
  checkObject(fn, 'prompt', o);
  const { prompt, messages, tokenIds, chat } = o as Partial<
    Record<'prompt' | 'messages' | 'tokenIds' | 'chat', unknown>
  >;
  const given = [prompt, messages, tokenIds].filter((x) => x !== undefined).length;
  if (given !== 1) throw new ValueError(`${fn}: give exactly one of "prompt", "messages" and "tokenIds", got ${given}`);
  if (chat !== undefined && messages === undefined) throw new ValueError(`${fn}: "chat" belongs to "messages"`);
  if (tokenIds !== undefined) {
    return takeTokenIds(fn, '"tokenIds"', tokenIds as ArrayLike<number>, model.config.vocabSize);
  }
  if (messages !== undefined) {
    if (!Array.isArray(messages)) throw new KindError(`${fn}: "messages" must be an array, got ${typeof messages}`);
    if (messages.length === 0) throw new ValueError(`${fn}: "messages" must not be empty`);
    if (chat !== undefined) {
      checkObject(fn, 'chat', chat);
      checkOptionNames(`${fn}: "chat"`, chat, ['thinking', 'dropThinking']);
    }
    const { thinking = false, dropThinking = true } = (chat ?? {}) as ChatOptions;
    const request = { messages: messages as readonly Message[], thinking, drop_thinking: dropThinking };
    return encodeConversation(request, { tokenizer: model.tokenizer, generationPrompt: 'always' }).tokenIds;
  }
  if (typeof prompt !== 'string') throw new KindError(`${fn}: "prompt" must be a string, got ${typeof prompt}`);
  const bos = model.config.bosTokenId;
  const ids = model.tokenizer.encode(prompt);
  return ids[0] === bos ? ids : [bos, ...ids];
}

/** Ids that end a turn: the checkpoint's, and as a safety net those that begin a sentence or a turn. */
export function stopTokenIds(model: RequestContext): number[] {
  const fn = 'stopTokenIds';
  checkObject(fn, 'model', model);
  const { config, generationConfig, hasTokenizer } = model;
  checkObject(fn, 'model.config', config);
  const { eosTokenIds, bosTokenId } = config;
  if (generationConfig !== undefined) checkObject(fn, 'model.generationConfig', generationConfig);
  const more = generationConfig?.eosTokenIds ?? [];
  for (const [name, list] of Object.entries({
    'config.eosTokenIds': eosTokenIds,
    'generationConfig.eosTokenIds': more,
  }))
    if (!Array.isArray(list)) throw new KindError(`${fn}: "model.${name}" must be an array, got ${describe(list)}`);
  if (typeof hasTokenizer !== 'boolean')
    throw new KindError(`${fn}: "model.hasTokenizer" must be true or false, got ${describe(hasTokenizer)}`);
  const ids = new Set([...eosTokenIds, ...more, bosTokenId]);
  for (const name of hasTokenizer ? TURN_STARTS : []) {
    const id = model.tokenizer.specialIds.get(name);
    if (id !== undefined) ids.add(id);
  }
  return [...ids];
}

/** The knobs of the sampler among the options. */
const samplingOf = (o: RequestOptions): SamplingParams =>
  Object.fromEntries(SAMPLING_NAMES.flatMap((name) => (o[name] === undefined ? [] : [[name, o[name]]])));

/** Knobs that change nothing while the likeliest token is taken. */
function checkNeedsTemperature(fn: string, { temperature, topK, topP, minP, seed }: RequestOptions): void {
  if (temperature !== undefined) return;
  const idle = Object.entries({
    topP: topP !== undefined && topP !== 1,
    topK: topK !== undefined && topK > 0,
    minP: minP !== undefined && minP !== 0,
    seed: seed !== undefined,
  });
  const given = idle.filter(([, isGiven]) => isGiven).map(([name]) => `"${name}"`);
  if (given.length === 0) return;
  throw new ValueError(
    `${fn}: ${given.join(', ')} without "temperature" would do nothing: the likeliest token is taken; give a temperature above 0, ` +
      'or 0 to say that this is meant',
  );
}

function checkBoolean(fn: string, arg: string, v: unknown): void {
  if (typeof v !== 'boolean') throw new KindError(`${fn}: "${arg}" must be true or false, got ${typeof v}`);
}

function stopTextsOf(fn: string, stop: RequestOptions['stop']): string[] {
  if (stop === undefined) return [];
  if (typeof stop === 'string') return [stop];
  if (!Array.isArray(stop))
    throw new KindError(`${fn}: "stop" must be a text or an array of texts, got ${typeof stop}`);
  return takeStrings(fn, 'stop', stop);
}

/**
 * Checks a request and fills in its defaults; `maxLength` bounds prompt and answer together. Options of the caller's own are not looked at.
 * @throws ValueError, KindError naming the option; ContextLengthError
 */
export function prepareRequest(
  fn: string,
  model: RequestContext,
  maxLength: number,
  given: Prompt & RequestOptions,
): PreparedRequest {
  const o = Object.fromEntries(
    REQUEST_NAMES.map((name) => [name, (given as unknown as Record<string, unknown>)[name]]), // each read once
  ) as unknown as Prompt & RequestOptions;
  const { maxTokens: asked, stop, stopIds: more = [], includeStop = false, ignoreEos = false } = o;
  const { skipSpecialTokens = true, splitReasoning = o.messages !== undefined, sequenceIndex = 0 } = o;
  const { vocabSize } = model.config;
  if (asked !== undefined) checkInteger(fn, 'maxTokens', asked, 0);
  checkBoolean(fn, 'includeStop', includeStop);
  checkBoolean(fn, 'ignoreEos', ignoreEos);
  checkBoolean(fn, 'skipSpecialTokens', skipSpecialTokens);
  checkBoolean(fn, 'splitReasoning', splitReasoning);
  checkInteger(fn, 'sequenceIndex', sequenceIndex, 0, 0xffffffff);
  checkNeedsTemperature(fn, o);
  const params: SamplingParams = { ...samplingOf(o), temperature: o.temperature ?? 0 };
  const { minTokens } = resolveSamplingParams(params, vocabSize, fn);
  const stopIds = [...(ignoreEos ? [] : stopTokenIds(model)), ...takeTokenIds(fn, '"stopIds"', more, vocabSize)];
  const stopTexts = stopTextsOf(fn, stop);
  new StopChecker({ stopIds, stopStrings: stopTexts, minTokens });

  const promptIds = promptTokenIds(model, o, fn);
  if (promptIds.length === 0) throw new ValueError(`${fn}: the prompt has no tokens; give at least one`);
  if (promptIds.length + (asked === 0 ? 0 : 1) > maxLength) {
    throw new ContextLengthError(fn, promptIds.length, maxLength);
  }
  const room = maxLength - promptIds.length;
  return {
    promptIds: Int32Array.from(promptIds),
    budget: Math.min(asked ?? DEFAULT_MAX_TOKENS, room),
    params,
    stopIds,
    stopTexts,
    includeStop,
    skipSpecialTokens,
    splitReasoning,
    sequenceIndex,
  };
}

/** Throws for options that do not exist. */
export function checkRequestNames(fn: string, o: object, own: readonly string[]): void {
  checkOptionNames(fn, o, [...REQUEST_NAMES, ...own], REQUEST_ALIASES);
}
