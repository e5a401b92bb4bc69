import { checkOneOf, KindError, UnsupportedError, ValueError } from '@megamoe/core';
import {
  contentText,
  field,
  hasField,
  isObject,
  keysOf,
  kindOf,
  optionalFlag,
  optionalList,
  optionalText,
} from './fields';
import { TASK_TOKENS } from './markers';

const FN = 'encodeConversation';

/** A call as the prompt has it. */
export interface Call {
  readonly id: string;
  readonly name: string;
  /** JSON text, or what was given instead of one. */
  readonly arguments: unknown;
}

/** What a turn describes after its text. */
export interface Attachments {
  /** Function objects, as given. */
  readonly tools: readonly object[];
  /** Written whole after the heading; undefined for none. */
  readonly schema: unknown;
}

/** A piece of a user's turn: what a user said, or what a tool gave. */
export type Block =
  | ({ readonly kind: 'text'; readonly text: string } & Partial<Attachments>)
  | { readonly kind: 'result'; readonly id: string; readonly text: string };

/** A turn of the prompt, made of one message or of several user and tool messages. */
export interface Turn extends Attachments {
  readonly role: 'system' | 'developer' | 'user' | 'assistant' | 'latest_reminder';
  readonly text: string;
  /** Of a user. */
  readonly blocks: readonly Block[];
  /** Of an assistant; empty where there is none. */
  readonly reasoning: string;
  readonly calls: readonly Call[];
  readonly task: string | undefined;
  readonly woEos: boolean;
  readonly prefix: boolean;
}

const ROLES = ['system', 'developer', 'user', 'assistant', 'tool', 'latest_reminder'] as const;
const PLAIN = {
  blocks: [],
  reasoning: '',
  calls: [],
  tools: [],
  schema: undefined,
  woEos: false,
  prefix: false,
} as const;

/** The function objects of a list of tools. */
export function functionsOf(where: string, tools: unknown): object[] {
  return optionalList(FN, where, tools).map((tool, i) => {
    const f = field(tool, 'function');
    if (isObject(f)) return f;
    throw new KindError(
      `${FN}: "${where}[${i}].function" must be an object with name, description and parameters, got ${kindOf(f)}`,
    );
  });
}

/** The name of a function object. */
export function functionName(where: string, f: object): string {
  const name = field(f, 'name');
  if (typeof name === 'string' && name !== '') return name;
  throw new KindError(`${FN}: "${where}" must have a name, got ${kindOf(name)}`);
}

function callsOf(where: string, calls: unknown): Call[] {
  return optionalList(FN, where, calls).map((call, i) => {
    const f = field(call, 'function');
    const name = field(f, 'name');
    if (typeof name !== 'string') {
      throw new KindError(`${FN}: "${where}[${i}].function.name" must be a string, got ${kindOf(name)}`);
    }
    if (!hasField(f, 'arguments') || field(f, 'arguments') === undefined) {
      throw new KindError(`${FN}: "${where}[${i}].function.arguments" is missing; it is JSON text, "{}" for none`);
    }
    const id = field(call, 'id') || field(f, 'id'); // an empty one is none
    return { id: typeof id === 'string' ? id : '', name, arguments: field(f, 'arguments') };
  });
}

/** One message, checked; user and tool messages become a user turn of one block. */
function turnOf(where: string, message: unknown): Turn {
  if (!isObject(message)) throw new KindError(`${FN}: "${where}" must be an object, got ${kindOf(message)}`);
  const role = field(message, 'role');
  checkOneOf(FN, `${where}.role`, role, ROLES);
  const content = contentText(FN, `${where}.content`, field(message, 'content'), role === 'tool' ? 'name' : 'refuse');
  const task = optionalText(FN, `${where}.task`, field(message, 'task'));
  if (task !== undefined) checkOneOf(FN, `${where}.task`, task, [...TASK_TOKENS.keys()]);
  const schema = field(message, 'response_format');
  const given: Turn = {
    ...PLAIN,
    role: role === 'tool' ? 'user' : role,
    text: content ?? '',
    tools: functionsOf(`${where}.tools`, field(message, 'tools')),
    schema: isObject(schema) && keysOf(schema).length > 0 ? schema : undefined,
    task,
    woEos: optionalFlag(FN, `${where}.wo_eos`, field(message, 'wo_eos')) ?? false,
    prefix: optionalFlag(FN, `${where}.prefix`, field(message, 'prefix')) ?? false,
  };
  switch (role) {
    case 'system':
      return given;
    case 'developer':
      if (given.text === '') throw new ValueError(`${FN}: "${where}.content" of a developer must not be empty`);
      return given;
    case 'latest_reminder':
      return { ...given, text: content ?? 'None' }; // what Python prints
    case 'user':
      if (content === null) {
        throw new KindError(`${FN}: "${where}.content" of a user must be a string or a list of text parts, got null`);
      }
      return { ...given, tools: [], schema: undefined, blocks: [{ kind: 'text', text: given.text }] };
    case 'tool': {
      const id = field(message, 'tool_call_id');
      const block: Block = {
        kind: 'result',
        id: typeof id === 'string' ? id : '',
        text: content === null ? 'None' : given.text,
      };
      return { ...PLAIN, role: 'user', text: '', task: undefined, blocks: [block] };
    }
    case 'assistant': {
      const reasoning = field(message, 'reasoning_content') ?? field(message, 'reasoning');
      const text = contentText(FN, `${where}.reasoning_content`, reasoning, 'refuse');
      return { ...given, reasoning: text ?? '', calls: callsOf(`${where}.tool_calls`, field(message, 'tool_calls')) };
    }
  }
}

/** A system message that is not at the head becomes a user's: the model has seen that, and unmarked text after an answer it has not. */
function asUser(turn: Turn): Turn {
  const { text, tools, schema } = turn;
  return { ...turn, role: 'user', tools: [], schema: undefined, blocks: [{ kind: 'text', text, tools, schema }] };
}

/** The system messages at the head as one: texts joined by a blank line, then all tools, then the last schema. */
function joinHead(systems: readonly Turn[]): Turn {
  const texts = systems.map((t) => t.text).filter((text) => text !== '');
  return {
    ...systems.at(-1)!,
    text: texts.join('\n\n'),
    tools: systems.flatMap((t) => t.tools),
    schema: systems.findLast((t) => t.schema !== undefined)?.schema,
  };
}

/** Whether tools are described anywhere in a turn. */
export const describesTools = (turn: Turn): boolean => toolsOf(turn).length > 0;

/** The function objects that a turn describes. */
export const toolsOf = (turn: Turn): readonly object[] => [
  ...turn.tools,
  ...turn.blocks.flatMap((block) => (block.kind === 'text' ? (block.tools ?? []) : [])),
];

/**
 * Turns of a list of messages.
 * @param where for messages of errors: `messages` or `context`
 * @param head what the request adds to the system message at the head, which is made where there is none; undefined where no head can be
 */
export function readTurns(where: string, messages: unknown, head: Attachments | undefined): Turn[] {
  if (!Array.isArray(messages)) {
    throw new KindError(`${FN}: "${where}" must be a list of messages, got ${kindOf(messages)}`);
  }
  const turns = messages.map((message, i) => turnOf(`${where}[${i}]`, message));
  const at = head === undefined ? 0 : turns.findIndex((t) => t.role !== 'system');
  const leading = at < 0 ? turns.length : at;
  const systems = turns.slice(0, leading);
  if (head && (head.tools.length > 0 || head.schema !== undefined)) {
    systems.push({ ...PLAIN, role: 'system', text: '', task: undefined, ...head });
  }
  const rest = turns.slice(leading).map((turn) => (turn.role === 'system' ? asUser(turn) : turn));
  return merge([...(systems.length > 0 ? [joinHead(systems)] : []), ...rest]);
}

/** Consecutive user and tool messages as one turn; a user's text does not join a turn that has a task. */
function merge(turns: readonly Turn[]): Turn[] {
  const merged: Turn[] = [];
  for (const turn of turns) {
    const last = merged.at(-1);
    const joins =
      turn.role === 'user' && last?.role === 'user' && (turn.blocks[0]!.kind === 'result' || last.task === undefined);
    if (joins) merged[merged.length - 1] = { ...last, blocks: [...last.blocks, ...turn.blocks] };
    else merged.push(turn);
  }
  return merged;
}

/**
 * Puts the results within each user turn into the order of the calls of the last assistant that made some; texts keep their places. A result
 * of an unknown call counts as one of the first.
 */
export function sortResults(turns: readonly Turn[]): Turn[] {
  let order = new Map<string, number>();
  return turns.map((turn) => {
    if (turn.role === 'assistant' && turn.calls.length > 0) {
      order = new Map(turn.calls.flatMap(({ id }, i) => (id === '' ? [] : [[id, i] as const])));
      return turn;
    }
    const results = turn.blocks.filter((block) => block.kind === 'result');
    if (results.length < 2 || order.size === 0) return turn;
    results.sort((a, b) => (order.get(a.id) ?? 0) - (order.get(b.id) ?? 0));
    let next = 0;
    return { ...turn, blocks: turn.blocks.map((block) => (block.kind === 'result' ? results[next++]! : block)) };
  });
}

/** Where the last user or developer stands; -1 for none. */
export function lastUserIndex(turns: readonly Turn[]): number {
  return turns.findLastIndex((turn) => turn.role === 'user' || turn.role === 'developer');
}

/** The turns that are left when reasoning is dropped: without developers before the last user. */
export function dropOld(turns: readonly Turn[]): Turn[] {
  const last = lastUserIndex(turns);
  return turns.filter((turn, i) => i >= last || turn.role !== 'developer');
}

/** Refuses what needs wording where there is none. */
export function needsWording(what: string): UnsupportedError {
  return new UnsupportedError(
    `${FN}: ${what} need the wording of the checkpoint's encoding/encoding_dsv4.py, which this checkpoint has not; give an encoder file (megamoe prompt --encoder FILE)`,
  );
}
