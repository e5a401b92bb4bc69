import { CHAT_TOKENS, encodeConversation, type EncodedConversation, type JsonObject } from '@megamoe/chat';
import * as z from 'zod';
import type { AnswerRequest } from '../answer/types';
import { badRequest, contextLength, requestError } from '../errors';
import type { JsonBody } from '../http/json';
import type { Served } from '../served';
import { checkFields, checkTogether, commonFields, samplingOf, stopsOf } from './fields';
import { checkConversation, checkTools, messages, textOf, tools } from './messages';

const anything = z.unknown().optional();

/** Fields that shape the prompt; they go to the encoder as they were written. */
const promptFields = {
  messages,
  tools: tools.nullish(),
  tool_choice: z
    .union(
      [
        z.enum(['auto', 'none', 'required']),
        z.looseObject({ type: z.literal('function'), function: z.looseObject({ name: z.string() }) }),
      ],
      { error: 'must be auto, none, required or {"type": "function", "function": {"name": ...}}' },
    )
    .nullish(),
  response_format: z.looseObject({ type: z.string() }).nullish(),
  thinking: z
    .union([z.boolean(), z.looseObject({ type: z.string() })], {
      error: 'must be true, false or {"type": "enabled" or "disabled"}',
    })
    .nullish(),
  think: z.union([z.boolean(), z.string()], { error: 'must be true, false or an effort' }).nullish(),
  enable_thinking: z.boolean().nullish(),
  reasoning_effort: z.string().nullish(),
  output_config: z.looseObject({}).nullish(),
  reasoning: z.looseObject({}).nullish(),
  chat_template_kwargs: z.looseObject({}).nullish(),
  continue_final_message: z.boolean().nullish(),
  add_generation_prompt: z.boolean().nullish(),
};

const budget = z.int().min(0).nullish();

/** Fields of a Chat Completions request. */
export const chatFields = {
  ...commonFields,
  ...promptFields,
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  thinking_budget: budget,
  thinking_token_budget: budget,
  functions: anything,
  function_call: anything,
};

const schema = z.object(chatFields);
type ChatFields = z.infer<typeof schema>;

/** A request to answer a conversation, checked and encoded. */
export interface ChatRequest {
  readonly fields: ChatFields;
  readonly encoded: EncodedConversation;
  readonly answer: AnswerRequest;
  /** What the last message has said already, when the answer goes on with it. */
  readonly prefix: string;
}

/** Checks the fields of a request. @throws ApiError 400 */
export function checkChat({ plain }: JsonBody): ChatFields {
  const fields = checkFields(schema, plain);
  checkTogether(fields);
  if ((fields.functions ?? fields.function_call ?? null) !== null) {
    throw badRequest('"functions" is the old name of "tools"; send "tools" and "tool_choice".', 'functions');
  }
  if (fields.top_logprobs && !fields.logprobs) {
    throw badRequest('"top_logprobs" belongs to "logprobs": true.', 'top_logprobs');
  }
  checkConversation(fields.messages);
  checkTools(fields.tools ?? []);
  return fields;
}

/** The request as the encoder takes it: the fields of the API and no others, so that none of the encoder's own terms comes in. */
export function conversationOf({ json }: JsonBody): JsonObject {
  return new Map([...json].filter(([name]) => Object.hasOwn(promptFields, name)));
}

/** Encodes a conversation. @throws ApiError 400, 429; ClientGone */
export async function encode(
  served: Served,
  body: JsonBody,
  options: { readonly thinking: boolean; readonly scope: string; readonly signal: AbortSignal },
): Promise<EncodedConversation> {
  const { encoding, prompts, memory } = served;
  const { thinking, scope, signal } = options;
  checkLength(served, body.plain['messages']);
  const conversation = conversationOf(body);
  try {
    return await prompts.with({ scope, signal, bytes: body.bytes }, (tokenizer, isDry) =>
      encodeConversation(conversation, {
        ...{ tokenizer, encoding, thinking, scope, generationPrompt: 'always' },
        ...(isDry ? {} : { memory }),
      }),
    );
  } catch (error) {
    throw requestError(error);
  }
}

/** Refuses text that cannot fit before it is encoded: so many bytes make so many tokens at least. */
export function checkLength({ longestToken, engine }: Served, value: unknown): void {
  const { maxTokens } = engine.model;
  let bytes = 0;
  const count = (v: unknown): void => {
    if (typeof v === 'string')
      bytes += v.length; // UTF-16 units: at most as many as bytes
    else if (Array.isArray(v)) v.forEach(count);
    else if (typeof v === 'object' && v !== null)
      for (const key of ['content', 'text']) count((v as Record<string, unknown>)[key]);
  };
  count(value);
  const least = Math.ceil(bytes / longestToken);
  if (least < maxTokens) return;
  throw contextLength(
    least,
    maxTokens,
    `The prompt has at least ${least} tokens; the limit is ${maxTokens} with at least one to generate.`,
  );
}

const invoke = (name: string): string => `<${CHAT_TOKENS.dsml}invoke name="${name}">\n`;
const CALLS_END = 'tool_calls>\n';
const CALLS = `\n\n<${CHAT_TOKENS.dsml}${CALLS_END}`;

/** A chat request from its checked fields. @throws ApiError 400, 429; ClientGone */
export async function readChat(
  served: Served,
  body: JsonBody,
  fields: ChatFields,
  options: { readonly thinking: boolean; readonly cacheKey: string; readonly signal: AbortSignal },
): Promise<ChatRequest> {
  const { engine, vocabulary } = served;
  const { thinking, cacheKey, signal } = options;
  const encoded = await encode(served, body, { thinking, signal, scope: cacheKey });
  const { stage, tokenIds } = encoded;
  const choice = fields.tool_choice ?? 'auto';
  const forced = choice === 'required' || typeof choice === 'object';
  // A tool that must be called is begun as well: no other name can follow.
  const only = forced && encoded.tools.length === 1 ? nameOf(encoded.tools[0]!) : undefined;
  const opened = stage === 'tool_calls' && only !== undefined ? invoke(only) : '';
  const promptIds =
    opened === ''
      ? tokenIds
      : [
          ...tokenIds.slice(0, 1 + tokenIds.lastIndexOf(vocabulary.dsml!)),
          ...vocabulary.encodeMarked(`${CALLS_END}${opened}`),
        ];
  const { maxTokens: limit } = engine.model;
  if (promptIds.length >= limit) throw contextLength(promptIds.length, limit);
  const sampling = samplingOf(fields, engine.model);
  return {
    fields,
    encoded,
    prefix: prefixOf(fields),
    answer: {
      promptIds,
      n: fields.n ?? 1,
      sampling: fields.logprobs ? { ...sampling, logprobs: fields.top_logprobs ?? 0 } : sampling,
      maxTokens: Math.min(fields.max_completion_tokens ?? fields.max_tokens ?? Infinity, limit - promptIds.length),
      minTokens: fields.min_tokens ?? 0,
      stop: stopsOf(fields),
      cacheKey,
      reusePrefix: fields.cache_prompt ?? true,
      stage,
      continued: encoded.continued,
      opened,
      tools: encoded.tools,
      jsonObject: encoded.jsonObject,
      parallelToolCalls: fields.parallel_tool_calls ?? true,
      thinkingBudget: fields.thinking_budget ?? fields.thinking_token_budget ?? undefined,
      afterThinking: forced && stage === 'thinking' ? `${CALLS}${only === undefined ? '' : invoke(only)}` : '',
    },
  };
}

/** The name of a tool, whichever way its function is held. */
function nameOf(tool: EncodedConversation['tools'][number]): string {
  const f = tool.function;
  return f instanceof Map ? String(f.get('name')) : f.name;
}

/** What the last message has said, when the answer goes on with it. */
function prefixOf({ messages, continue_final_message }: ChatFields): string {
  const last = messages.at(-1)!;
  if (last.role !== 'assistant' || !(last.prefix || continue_final_message)) return '';
  return textOf(last.content);
}
