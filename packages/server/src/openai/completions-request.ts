import * as z from 'zod';
import type { EngineRequest } from '@megamoe/model';
import { badRequest, contextLength } from '../errors';
import type { JsonBody } from '../http/json';
import type { Served } from '../served';
import { checkLength } from './chat-request';
import { checkFields, checkTogether, commonFields, samplingOf, stopsOf } from './fields';

const ids = z.array(z.int().min(0)).min(1, 'must hold at least one token id');

/** Most prompts of one request. */
const MAX_PROMPTS = 128;
/** Tokens when nobody says how many, as OpenAI's API has it. */
const DEFAULT_TOKENS = 16;

/** Fields of a Completions request. */
export const completionFields = {
  ...commonFields,
  prompt: z.union(
    [z.string(), ids, z.array(z.string()).min(1).max(MAX_PROMPTS), z.array(ids).min(1).max(MAX_PROMPTS)],
    {
      error: `must be a text, a list of token ids, or a list of at most ${MAX_PROMPTS} of these`,
    },
  ),
  suffix: z.string().nullish(),
  max_tokens: z.int().min(0).nullish(),
  echo: z.boolean().nullish(),
  logprobs: z.int().min(0).max(20).nullish(),
  best_of: z.int().min(1).nullish(),
  add_special_tokens: z.boolean().nullish(),
  skip_special_tokens: z.boolean().nullish(),
  include_stop_str_in_output: z.boolean().nullish(),
};

const schema = z.object(completionFields);
type CompletionFields = z.infer<typeof schema>;

/** One prompt of a request: as text, and as ids. */
export interface CompletionPrompt {
  /** What `echo` shows. */
  readonly text: string;
  /** Whether the first id is a BOS that stands for none of the text. */
  readonly hasBos: boolean;
  readonly request: EngineRequest;
}

/** A Completions request, checked. */
export interface CompletionRequest {
  readonly fields: CompletionFields;
  readonly prompts: readonly CompletionPrompt[];
  readonly n: number;
  readonly maxTokens: number;
  readonly echo: boolean;
  /** How many log-probabilities of each token; undefined for none. */
  readonly logprobs: number | undefined;
}

/** Checks the fields of a request. @throws ApiError 400 */
export function checkCompletion({ plain }: JsonBody): CompletionFields {
  const fields = checkFields(schema, plain);
  checkTogether(fields);
  if (fields.suffix) throw badRequest('"suffix" is not supported: this model does not fill in.', 'suffix');
  const { best_of, n } = fields;
  if (best_of !== undefined && best_of !== null && best_of !== (n ?? 1)) {
    throw badRequest('"best_of" other than "n" is not supported.', 'best_of');
  }
  if (fields.max_tokens === 0 && !fields.echo) {
    throw badRequest('"max_tokens": 0 gives nothing, but for "echo": true.', 'max_tokens');
  }
  return fields;
}

/** Makes requests to the engine of checked fields. @throws ApiError 400, 429; ClientGone */
export async function readCompletion(
  served: Served,
  { bytes }: JsonBody,
  fields: CompletionFields,
  options: { readonly cacheKey: string; readonly signal: AbortSignal },
): Promise<CompletionRequest> {
  const { engine } = served;
  const { model } = engine;
  const { bosTokenId } = model.config;
  const n = fields.n ?? 1;
  const echo = fields.echo ?? false;
  const logprobs = fields.logprobs ?? undefined;
  const maxTokens = fields.max_tokens ?? DEFAULT_TOKENS;
  const sampling = samplingOf(fields, model);
  const given = fields.prompt;
  const isOne = typeof given === 'string' || typeof given[0] === 'number';
  const list = (isOne ? [given] : given) as readonly (string | readonly number[])[];
  for (const prompt of list) if (typeof prompt === 'string') checkLength(served, prompt);
  const { cacheKey: scope, signal } = options;
  const encoded = await served.prompts.with({ scope, bytes, signal }, ({ encode }) =>
    list.map((prompt) => (typeof prompt === 'string' ? encode(prompt) : [...prompt])),
  );
  const texts = await Promise.all(
    list.map((prompt) => (typeof prompt === 'string' ? prompt : echo ? served.tokens.decode(prompt, signal) : '')),
  );
  const prompts = list.map((prompt, i): CompletionPrompt => {
    const own = encoded[i]!;
    const hasBos = typeof prompt === 'string' && (fields.add_special_tokens ?? true) && own[0] !== bosTokenId;
    const tokenIds = hasBos ? [bosTokenId, ...own] : own;
    const bad = tokenIds.find((id) => id >= model.config.vocabSize);
    if (bad !== undefined) {
      throw badRequest(`"prompt": ${bad} is no token id below ${model.config.vocabSize}.`, 'prompt');
    }
    if (tokenIds.length + (maxTokens > 0 ? 1 : 0) > model.maxTokens) {
      throw contextLength(tokenIds.length, model.maxTokens);
    }
    if (tokenIds.length === 0) throw badRequest('"prompt" has no tokens.', 'prompt');
    return {
      text: texts[i]!,
      hasBos,
      request: {
        ...sampling,
        tokenIds,
        n,
        maxTokens: Math.min(maxTokens, model.maxTokens - tokenIds.length),
        minTokens: fields.min_tokens ?? 0,
        stop: stopsOf(fields),
        includeStop: fields.include_stop_str_in_output ?? false,
        skipSpecialTokens: fields.skip_special_tokens ?? true,
        cacheKey: options.cacheKey,
        reusePrefix: fields.cache_prompt ?? true,
        progress: true,
        signal: options.signal,
        ...(logprobs === undefined ? {} : { logprobs }),
        ...(logprobs !== undefined && echo ? { promptLogprobs: logprobs } : {}),
      },
    };
  });
  return { fields, prompts, n, maxTokens, echo, logprobs };
}
