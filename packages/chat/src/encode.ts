import {
  checkFunction,
  checkObject,
  checkOneOf,
  checkString,
  describe,
  KindError,
  UnsupportedError,
  ValueError,
} from '@megamoe/core';
import { takeEncoding, type Contract, type Effort, type Encoding } from './encoding';
import { field, isObject, kindOf, optionalFlag, optionalList } from './fields';
import type { JsonObject } from './json';
import { CALLS_BLOCK, CHAT_TOKENS } from './markers';
import { AnswerMemory, IdsHash, type RecalledAnswer } from './memory';
import { PromptWriter, renderTurns, type Open, type Segment } from './render';
import { resolveThinking } from './thinking';
import {
  describesTools,
  dropOld,
  functionName,
  functionsOf,
  readTurns,
  sortResults,
  toolsOf,
  type Turn,
} from './turns';
import type { ConversationRequest, PromptTokenizer, Tool } from './types';

const FN = 'encodeConversation';

/** Where output begins: within reasoning, in the answer, or inside a block of tool calls that the prompt has opened. */
export type Stage = 'thinking' | 'content' | 'tool_calls';

/** With what a conversation is encoded. */
export interface EncodeOptions {
  readonly tokenizer: PromptTokenizer;
  /** The checkpoint's wording. Without it tools, response formats and efforts above low are refused. */
  readonly encoding?: Encoding | undefined;
  /** Whether the model thinks when the request does not say. Default true, as DeepSeek's API. */
  readonly thinking?: boolean | undefined;
  /**
   * Whether the assistant's marker follows whatever comes last, as a server wants, or only a user or developer, as DeepSeek's encoder does.
   * Default `encoder`; the request's `add_generation_prompt` wins.
   */
  readonly generationPrompt?: 'encoder' | 'always' | undefined;
  /** Sampled ids of earlier answers, put in their place. */
  readonly memory?: AnswerMemory | undefined;
  /** Whose answers the memory may give back. */
  readonly scope?: string | undefined;
}

/** A conversation as the model gets it. */
export interface EncodedConversation {
  /** As rendered. Where a remembered answer stands for a message, its ids are in `tokenIds` and what the request has of it is here. */
  readonly text: string;
  readonly tokenIds: number[];
  readonly thinking: boolean;
  /** The effort in force; null when the model does not think. */
  readonly effort: Effort | null;
  /** The contract in force; null without an encoder file. */
  readonly contract: Contract | null;
  /** For {@link OutputParser}. */
  readonly stage: Stage;
  /** Whether output goes on with text that the last message has begun; for {@link OutputParser}. */
  readonly continued: boolean;
  /** Tools that the prompt describes, for {@link OutputParser}; empty for none. */
  readonly tools: readonly Tool[];
  /** Whether the answer is to be JSON: `response_format` json_object or json_schema. */
  readonly jsonObject: boolean;
  /** The schema of `response_format` json_schema. */
  readonly schema: object | undefined;
  /** Where in `tokenIds` the answer begins, after the assistant's marker; undefined when nothing is open. */
  readonly answerStart: number | undefined;
  /** Answers of the conversation whose sampled ids were remembered. */
  readonly recalled: number;
}

/** What `response_format` of a request asks for. */
function responseFormat(format: unknown): { readonly jsonObject: boolean; readonly schema: object | undefined } {
  if (format === undefined || format === null) return { jsonObject: false, schema: undefined };
  const type = field(format, 'type');
  if (type === 'text') return { jsonObject: false, schema: undefined };
  if (type === 'json_object') return { jsonObject: true, schema: undefined };
  if (type === 'json_schema') {
    const schema = field(field(format, 'json_schema'), 'schema') ?? field(format, 'schema');
    if (isObject(schema)) return { jsonObject: true, schema };
    throw new KindError(`${FN}: "response_format.json_schema.schema" must be an object, got ${kindOf(schema)}`);
  }
  throw new ValueError(
    `${FN}: "response_format.type" must be one of text, json_object, json_schema, got ${typeof type === 'string' ? type : kindOf(type)}`,
  );
}

/** The tools of a request that the prompt describes, and whether one must be called. */
function chosenTools(request: unknown): {
  readonly tools: readonly object[];
  readonly none: boolean;
  readonly forced: boolean;
} {
  const tools = functionsOf('tools', field(request, 'tools'));
  const choice = field(request, 'tool_choice') ?? 'auto';
  if (choice === 'none') return { tools: [], none: true, forced: false };
  if (choice === 'auto') return { tools, none: false, forced: false };
  if (choice === 'required') return { tools, none: false, forced: true };
  const name = field(field(choice, 'function'), 'name');
  if (typeof name !== 'string') {
    throw new ValueError(
      `${FN}: "tool_choice" must be auto, none, required or {"type": "function", "function": {"name": ...}}, got ${typeof choice === 'string' ? choice : kindOf(choice)}`,
    );
  }
  const named = tools.filter((f) => field(f, 'name') === name);
  if (named.length > 0) return { tools: named, none: false, forced: true };
  const known = tools.map((f) => functionName('tools[].function', f)).join(', ') || 'none';
  throw new ValueError(`${FN}: "tool_choice" names ${name}, which is not among the tools: ${known}`);
}

/** With tool_choice none the tools leave the prompt, wherever they stand. */
function withoutTools(turn: Turn): Turn {
  const blocks = turn.blocks.map((block) => (block.kind === 'text' ? { ...block, tools: [] } : block));
  return { ...turn, tools: [], blocks };
}

/** Options read once: what is checked is what is used. */
function takeOptions(options: EncodeOptions): EncodeOptions {
  checkObject(FN, 'options', options);
  const { tokenizer, encoding, thinking, generationPrompt, memory, scope } = options;
  checkObject(FN, 'tokenizer', tokenizer);
  const { specialIds } = tokenizer;
  if (!(specialIds instanceof Map)) throw new KindError(`${FN}: "tokenizer.specialIds" must be a Map`);
  checkFunction(FN, 'tokenizer.encode', tokenizer.encode);
  if (thinking !== undefined && typeof thinking !== 'boolean')
    throw new KindError(`${FN}: "thinking" must be a boolean, got ${describe(thinking)}`);
  if (generationPrompt !== undefined) checkOneOf(FN, 'generationPrompt', generationPrompt, ['encoder', 'always']);
  if (memory !== undefined && !(memory instanceof AnswerMemory))
    throw new KindError(`${FN}: "memory" must be an AnswerMemory, got ${describe(memory)}`);
  if (scope !== undefined) checkString(FN, 'scope', scope);
  const wording = encoding === undefined ? undefined : takeEncoding(FN, encoding);
  return { tokenizer, encoding: wording, thinking, generationPrompt, memory, scope };
}

/** Marks the last turn as one to go on with, when the request says so. */
function withPrefix(turns: Turn[], request: unknown): Turn[] {
  const early = turns.slice(0, -1).findIndex((turn) => turn.prefix);
  if (early >= 0) throw new ValueError(`${FN}: "prefix" may stand on the last message only`);
  const wanted = optionalFlag(FN, 'continue_final_message', field(request, 'continue_final_message')) ?? false;
  const last = turns.at(-1);
  if (!wanted && !last?.prefix) return turns;
  if (last?.role !== 'assistant') {
    throw new ValueError(
      `${FN}: ${wanted ? '"continue_final_message"' : '"prefix"'} goes on with an assistant's message; the last one is ${last ? `a ${last.role}'s` : 'missing'}`,
    );
  }
  return [...turns.slice(0, -1), { ...last, prefix: true }];
}

/**
 * Renders a conversation as DeepSeek-V4 was trained on it and gives its token ids. Content, reasoning, results, arguments and schemas are
 * encoded as plain text: no message can forge a turn. The rules are those of the checkpoint's `encoding_dsv4.py`, with what DeepSeek's own
 * server does differently (docs/formats.md B3, B6).
 * @throws KindError or ValueError for a request that is wrong, with the field's place; UnsupportedError for what needs wording that is not
 *   there, and for a tokenizer without a marker
 */
export function encodeConversation(
  request: ConversationRequest | JsonObject,
  options: EncodeOptions,
): EncodedConversation {
  if (!isObject(request))
    throw new KindError(`${FN}: "request" must be an object with messages, got ${kindOf(request)}`);
  const own = takeOptions(options);
  const { encoding } = own;
  const { thinking, effort, effortText } = resolveThinking(request, encoding, own.thinking ?? true);
  const { tools, none, forced } = chosenTools(request);
  const { jsonObject, schema } = responseFormat(field(request, 'response_format'));

  const head = { tools, schema };
  const given = optionalList(FN, 'context', field(request, 'context'));
  const inMemory = given.length > 0;
  let context = inMemory ? readTurns('context', given, head) : [];
  let turns = withPrefix(readTurns('messages', field(request, 'messages'), inMemory ? undefined : head), request);
  if (none) [context, turns] = [context.map(withoutTools), turns.map(withoutTools)];
  turns = sortResults([...context, ...turns]).slice(context.length);
  context = sortResults(context);

  const dropThinking = optionalFlag(FN, 'drop_thinking', field(request, 'drop_thinking')) ?? true;
  let all = [...context, ...turns];
  const described = all.flatMap(toolsOf);
  const drop = dropThinking && !all.some(describesTools);
  if (thinking && drop) {
    all = dropOld(all);
    context = dropOld(context); // by itself, as the encoder does: with a developer in it too much is taken for rendered
  }

  const writer = new PromptWriter();
  const bos = optionalFlag(FN, 'add_default_bos_token', field(request, 'add_default_bos_token')) ?? true;
  if (bos && !inMemory) writer.mark(CHAT_TOKENS.bos);
  const wanted = optionalFlag(FN, 'add_generation_prompt', field(request, 'add_generation_prompt'));
  const generation = wanted === undefined ? (own.generationPrompt ?? 'encoder') : wanted ? 'always' : 'never';
  const open = renderTurns(writer, all, { encoding, thinking, drop, effortText, from: context.length, generation });
  const stage = forced ? forceCalls(writer, all, open, described.length) : (open ?? 'content');

  return {
    ...tokenize(writer.segments, own, open !== undefined),
    thinking,
    effort,
    contract: encoding?.contract ?? null,
    stage,
    continued: isContinued(turns.at(-1), stage),
    tools: described.map((f) => ({ type: 'function', function: f }) as Tool),
    jsonObject,
    schema,
  };
}

/** Opens the block of calls, which leaves the model nothing but a call; not where it thinks first, nor in a turn that is gone on with. */
function forceCalls(writer: PromptWriter, turns: readonly Turn[], open: Open | undefined, tools: number): Stage {
  if (tools === 0) throw new ValueError(`${FN}: "tool_choice" wants a call and there are no tools`);
  const last = turns.at(-1);
  if (open !== 'content' || last?.role === 'assistant' || last?.task !== undefined) return open ?? 'content';
  writer.text('\n\n<').mark(CHAT_TOKENS.dsml).text(`${CALLS_BLOCK}>\n`);
  return 'tool_calls';
}

/** Whether a last message that is gone on with has some text of what the output begins with. */
function isContinued(last: Turn | undefined, stage: Stage): boolean {
  if (last?.role !== 'assistant' || !(last.prefix || last.woEos)) return false;
  return (stage === 'thinking' ? last.reasoning : last.text) !== '';
}

type Tokenized = Pick<EncodedConversation, 'text' | 'tokenIds' | 'answerStart' | 'recalled'>;
type Answer = Extract<Segment, { kind: 'answer' }>;

/** Text and ids of segments. Neighbouring texts are encoded in one piece, as they would be in a rendered prompt. */
function tokenize(
  segments: readonly Segment[],
  { memory, scope, tokenizer }: EncodeOptions,
  isOpen: boolean,
): Tokenized {
  let tokenIds: number[] = [];
  const texts: string[] = [];
  let plain = '';
  let answerStart: number | undefined;
  let recalled = 0;
  const hash = new IdsHash();
  let hashed = 0;
  const idOf = (token: string): number => {
    const id = tokenizer.specialIds.get(token);
    if (id === undefined) throw new UnsupportedError(`${FN}: this tokenizer has no token ${token}`);
    return id;
  };
  const flush = (): void => {
    if (plain === '') return;
    const ids = tokenizer.encode(plain, { parseSpecial: false });
    plain = '';
    // Hundreds of thousands are not pushed one by one.
    if (ids.length > tokenIds.length) tokenIds = tokenIds.concat(ids);
    else for (const id of ids) tokenIds.push(id);
  };
  /** An answer as it was sampled, if that is known and its place is the one it had. */
  const remembered = (answer: Answer): Known | undefined => {
    const opener = tokenIds.at(-1);
    const think = opener === idOf(CHAT_TOKENS.think);
    if (!memory || plain !== '' || (!think && opener !== idOf(CHAT_TOKENS.endThink))) return undefined;
    hash.extend(tokenIds.slice(hashed, -1));
    hashed = tokenIds.length - 1;
    const { text, reasoning, calls } = answer.turn;
    const found = memory.recallAfter(hash.value, { content: text, reasoning, toolCalls: calls }, scope);
    return found && fit(answer, found, think, idOf);
  };
  const put = (segment: Segment): void => {
    if (segment.kind === 'text') {
      plain += segment.text;
      texts.push(segment.text);
    } else if (segment.kind === 'marker') {
      flush();
      tokenIds.push(idOf(segment.token));
      if (segment.token === CHAT_TOKENS.assistant) answerStart = tokenIds.length;
      texts.push(segment.token);
    } else {
      const known = remembered(segment);
      const { reasoning = [], rest } = segment;
      if (!known) for (const part of [...reasoning, ...rest]) put(part);
      else {
        for (const part of known.rendered) put(part);
        for (const id of known.ids) tokenIds.push(id);
        texts.push(known.text);
        recalled++;
      }
    }
  };
  for (const segment of segments) put(segment);
  flush();
  return { text: texts.join(''), tokenIds, answerStart: isOpen ? answerStart : undefined, recalled };
}

/** How a remembered answer stands in the prompt. */
interface Known {
  /** Segments still rendered. */
  readonly rendered: readonly Segment[];
  /** Ids after them, and the text that they stand for. */
  readonly ids: readonly number[];
  readonly text: string;
}

/**
 * The sampled ids of an answer, as far as they belong into the prompt: reasoning only where the prompt has reasoning, and only the model's
 * own. What was sampled without an end of sentence gets one.
 */
function fit(
  { turn, reasoning = [], rest }: Answer,
  { ids, answer }: RecalledAnswer,
  think: boolean,
  idOf: (token: string) => number,
): Known | undefined {
  const eos = idOf(CHAT_TOKENS.eos);
  const from = (at: number): number[] => [...ids.subarray(at), ...(ids.at(-1) === eos ? [] : [eos])];
  const textOf = (segments: readonly Segment[]): string =>
    segments.map((s) => (s.kind === 'text' ? s.text : s.kind === 'marker' ? s.token : '')).join('');
  const reasoned = ids[0] === idOf(CHAT_TOKENS.think);
  const given = turn.reasoning.trim();
  const sameReasoning = given === '' || given === (answer.reasoning ?? '').trim();
  if (think && reasoned && sameReasoning) return { rendered: [], ids: from(1), text: textOf([...reasoning, ...rest]) };
  const end = reasoned ? ids.indexOf(idOf(CHAT_TOKENS.endThink)) : 0;
  if (end < 0) return undefined; // it called within its reasoning: without the reasoning there is no place to cut
  return { rendered: reasoning, ids: from(end + 1), text: textOf(rest) };
}
