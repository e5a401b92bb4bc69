import type { ModelFacts } from '@megamoe/model';
import * as z from 'zod';
import type { Sampling } from '../answer/types';
import { badRequest } from '../errors';

const INT64 = 2n ** 63n;
const isInt64 = (x: number | bigint): boolean =>
  typeof x === 'bigint' ? x >= -INT64 && x < INT64 : Number.isSafeInteger(x);

const seed = z
  .union([z.number(), z.bigint()], { error: 'must be an integer' })
  .refine(isInt64, { error: 'must be an integer of 64 bits, from -2^63 to 2^63 - 1' });

const text = z.string().min(1, 'must not be empty');

/** Most texts that end an answer. */
const MAX_STOPS = 16;

// zod's record passes over a key named __proto__, whatever it holds: that one is refused before.
const logitBias = z
  .unknown()
  .refine((x) => typeof x !== 'object' || x === null || !Object.hasOwn(x, '__proto__'), {
    error: '"__proto__" is no token id',
    abort: true,
  })
  .pipe(z.record(z.string(), z.number().min(-100).max(100)).nullish());

/** Fields that both completion APIs have. */
export const commonFields = {
  model: z.string().nullish(),
  stream: z.boolean().nullish(),
  stream_options: z
    .looseObject({ include_usage: z.boolean().nullish(), continuous_usage_stats: z.boolean().nullish() })
    .nullish(),
  n: z.int().min(1).max(128).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(-1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  repetition_penalty: z.number().gt(0).max(10).nullish(),
  seed: seed.nullish(),
  logit_bias: logitBias.optional(),
  stop: z
    .union([text, z.array(text).max(MAX_STOPS)], {
      error: `must be a text or a list of at most ${MAX_STOPS} texts, none of them empty`,
    })
    .nullish(),
  stop_token_ids: z.array(z.int().min(0)).max(256).nullish(),
  ignore_eos: z.boolean().nullish(),
  min_tokens: z.int().min(0).nullish(),
  cache_salt: z.string().max(1024).nullish(),
  cache_prompt: z.boolean().nullish(),
};

/** Fields that clients send and that change nothing here. */
export const IGNORED_FIELDS = [
  'user',
  'metadata',
  'store',
  'service_tier',
  'prompt_cache_key',
  'prompt_cache_retention',
  'safety_identifier',
  'verbosity',
  'modalities',
  'prediction',
  'web_search_options',
  'parallel_hints',
  'priority',
  'request_id',
] as const;

/** {@link commonFields}, checked. */
export type CommonFields = z.infer<z.ZodObject<typeof commonFields>>;

/** Where in a request something is, as in `messages[0].content`. */
export function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (all, key) => (typeof key === 'number' ? `${all}[${key}]` : all === '' ? String(key) : `${all}.${String(key)}`),
    '',
  );
}

/** A request by its schema. @throws ApiError 400 that names the field */
export function checkFields<T>(schema: z.ZodType<T>, plain: unknown): T {
  const checked = schema.safeParse(plain, { reportInput: false });
  if (checked.success) return checked.data;
  const issue = checked.error.issues[0]!;
  const where = pathOf(issue.path);
  throw badRequest(`${where === '' ? 'The request' : `"${where}"`}: ${issue.message}.`, where || undefined);
}

/** Names of a request that no schema knows. */
export function unknownFields(plain: object, known: object): string[] {
  const ignored: readonly string[] = IGNORED_FIELDS;
  return Object.keys(plain).filter((name) => !Object.hasOwn(known, name) && !ignored.includes(name));
}

/** `logit_bias` by token id. */
function logitBiasOf(given: CommonFields['logit_bias'], vocabSize: number): ReadonlyMap<number, number> | undefined {
  if (!given) return undefined;
  const bias = new Map<number, number>();
  for (const [key, value] of Object.entries(given)) {
    const id = /^(0|[1-9]\d*)$/.test(key) ? Number(key) : NaN; // one spelling for each: "07" beside "7" would be lost
    if (!(id < vocabSize)) {
      throw badRequest(`"logit_bias": ${JSON.stringify(key)} is no token id below ${vocabSize}.`, 'logit_bias');
    }
    bias.set(id, value);
  }
  return bias;
}

/** Knobs of the sampler; what is left out is the checkpoint's recommendation. */
export function samplingOf(fields: CommonFields, { config, generationConfig }: ModelFacts): Sampling {
  const recommended = generationConfig?.doSample === false ? 0 : (generationConfig?.temperature ?? 1);
  const { vocabSize } = config;
  const stopIds = fields.stop_token_ids ?? undefined;
  const bad = stopIds?.find((id) => id >= vocabSize);
  if (bad !== undefined) {
    throw badRequest(`"stop_token_ids": ${bad} is no token id below ${vocabSize}.`, 'stop_token_ids');
  }
  return {
    temperature: fields.temperature ?? recommended,
    topP: fields.top_p ?? generationConfig?.topP,
    topK: fields.top_k ?? generationConfig?.topK,
    minP: fields.min_p ?? undefined,
    repetitionPenalty: fields.repetition_penalty ?? undefined,
    presencePenalty: fields.presence_penalty ?? undefined,
    frequencyPenalty: fields.frequency_penalty ?? undefined,
    seed: fields.seed ?? undefined,
    logitBias: logitBiasOf(fields.logit_bias, vocabSize),
    stopIds,
    ignoreEos: fields.ignore_eos ?? false,
  };
}

/** `stop` as a list. */
export function stopsOf({ stop }: CommonFields): readonly string[] {
  const stops = typeof stop === 'string' ? [stop] : (stop ?? []);
  const broken = stops.find((s) => /\p{Surrogate}/u.test(s));
  if (broken !== undefined) throw badRequest('"stop" holds half a surrogate pair.', 'stop');
  return stops;
}

/** Checks of fields that depend on each other. */
export function checkTogether(
  fields: CommonFields & {
    readonly max_tokens?: number | null | undefined;
    readonly max_completion_tokens?: number | null | undefined;
  },
): void {
  if (fields.stream_options && !fields.stream) {
    throw badRequest('"stream_options" belongs to "stream": true.', 'stream_options');
  }
  const { min_tokens: least, max_tokens: most, max_completion_tokens: all } = fields;
  const limit = all ?? most;
  if (typeof least === 'number' && typeof limit === 'number' && least > limit) {
    throw badRequest(
      `"min_tokens" must be at most as many as ${limit}, the most tokens that are asked for.`,
      'min_tokens',
    );
  }
}
