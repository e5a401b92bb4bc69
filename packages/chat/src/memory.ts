import { checkInteger, checkObject, checkString, describe, KindError, takeIds } from '@megamoe/core';
import { createHash } from 'node:crypto';
import { readJson, writeJson } from './json';

/** What a client sees of an answer, and sends back. */
export interface VisibleAnswer {
  readonly content?: string | null | undefined;
  readonly reasoning?: string | null | undefined;
  readonly toolCalls?: readonly {
    readonly id?: string | undefined;
    readonly name: string;
    readonly arguments: unknown;
  }[];
}

/** An answer to remember. */
export interface RememberedAnswer {
  /** Ids of the prompt up to the assistant's marker: the first `answerStart` of `tokenIds` of the {@link EncodedConversation}. */
  readonly before: ArrayLike<number>;
  /** Ids from there on: the rest of the prompt (`<think>` or `</think>`, a prefix) and all that was sampled. */
  readonly ids: ArrayLike<number>;
  readonly answer: VisibleAnswer;
  /** Whose it is: answers are given back to the same scope only. */
  readonly scope?: string | undefined;
}

/** How much an {@link AnswerMemory} holds. */
export interface AnswerMemoryOptions {
  /** Most answers. Default 1024. */
  readonly maxAnswers?: number;
  /** Most token ids of all answers together. Default 2^20, 4 MiB. */
  readonly maxTokens?: number;
}

/** What {@link AnswerMemory} gives back: the sampled ids, and the answer as it was remembered. */
export interface RecalledAnswer {
  readonly ids: Int32Array;
  readonly answer: VisibleAnswer;
}

interface Entry extends RecalledAnswer {
  readonly keys: readonly string[];
}

/**
 * Remembers the ids that were sampled for an answer and gives them back when the answer comes back in a conversation, so that a prefix cache
 * finds its memory: what clients send back is trimmed, escaped anew and reordered, and rendered again it gives other ids.
 *
 * An answer is found by the conversation before it (a hash of its ids) together with what is visible of it: content without outer white
 * space, and names and arguments of its calls, compared as JSON values; or by the ids of its calls when the content was left out. An answer
 * that was edited is not found. The least recently used go first.
 */
export class AnswerMemory {
  readonly #maxAnswers: number;
  readonly #maxTokens: number;
  readonly #entries = new Map<string, Entry>();
  #answers = 0;
  #tokens = 0;

  constructor(options: AnswerMemoryOptions = {}) {
    checkObject('AnswerMemory', 'options', options);
    const { maxAnswers = 1024, maxTokens = 1 << 20 } = options;
    checkInteger('AnswerMemory', 'maxAnswers', maxAnswers, 0);
    checkInteger('AnswerMemory', 'maxTokens', maxTokens, 0);
    this.#maxAnswers = maxAnswers;
    this.#maxTokens = maxTokens;
  }

  /** Answers held. */
  get size(): number {
    return this.#answers;
  }

  /** Token ids held, of all answers. */
  get tokens(): number {
    return this.#tokens;
  }

  /** Keeps an answer; one that is larger than the memory is not kept. Remember only answers that ended by themselves, whole. */
  remember(remembered: RememberedAnswer): void {
    const fn = 'AnswerMemory.remember';
    checkObject(fn, 'remembered', remembered);
    const { before, ids: sampled, answer: said, scope = '' } = remembered;
    checkString(fn, 'scope', scope);
    const answer = takeAnswer(fn, said);
    const ids = takeIds(fn, 'ids', sampled);
    const keys = keysOfAnswer(fn, scope, new IdsHash().extend(takeIds(fn, 'before', before)).value, answer);
    for (const key of keys) this.#forget(this.#entries.get(key));
    if (ids.length > this.#maxTokens || this.#maxAnswers === 0) return;
    const entry: Entry = { ids, answer, keys };
    for (const key of keys) this.#entries.set(key, entry);
    this.#answers++;
    this.#tokens += ids.length;
    while (this.#answers > this.#maxAnswers || this.#tokens > this.#maxTokens) {
      this.#forget(this.#entries.values().next().value);
    }
  }

  /** The answer that came after these ids, if it is remembered and was not edited. */
  recall(before: ArrayLike<number>, answer: VisibleAnswer, scope = ''): RecalledAnswer | undefined {
    const fn = 'AnswerMemory.recall';
    const ids = takeIds(fn, 'before', before);
    return this.#recall(fn, () => new IdsHash().extend(ids).value, answer, scope);
  }

  /** The same with the hash of the ids before, as `IdsHash` makes it. */
  recallAfter(before: string, answer: VisibleAnswer, scope = ''): RecalledAnswer | undefined {
    const fn = 'AnswerMemory.recallAfter';
    checkString(fn, 'before', before);
    return this.#recall(fn, () => before, answer, scope);
  }

  #recall(fn: string, before: () => string, given: VisibleAnswer, scope: string): RecalledAnswer | undefined {
    checkString(fn, 'scope', scope);
    const answer = takeAnswer(fn, given);
    if (this.#answers === 0) return undefined;
    for (const key of keysOfAnswer(fn, scope, before(), answer)) {
      const entry = this.#entries.get(key);
      if (!entry || !(sameContent(answer, entry.answer) || (key.startsWith('ids') && trimmed(answer.content) === '')))
        continue;
      for (const used of entry.keys) {
        this.#entries.delete(used);
        this.#entries.set(used, entry); // the last in a Map is the most recent
      }
      return entry;
    }
    return undefined;
  }

  /** Forgets everything. */
  clear(): void {
    this.#entries.clear();
    this.#answers = 0;
    this.#tokens = 0;
  }

  #forget(entry: Entry | undefined): void {
    if (!entry) return;
    for (const key of entry.keys) this.#entries.delete(key);
    this.#answers--;
    this.#tokens -= entry.ids.length;
  }
}

const trimmed = (text: string | null | undefined): string => (text ?? '').trim();
const sameContent = (a: VisibleAnswer, b: VisibleAnswer): boolean => trimmed(a.content) === trimmed(b.content);

/** A hash of token ids that grows with them: a conversation is hashed once, not once for each of its answers. */
export class IdsHash {
  readonly #hash = createHash('sha256');

  extend(ids: ArrayLike<number>): this {
    this.#hash.update(new Uint8Array(Int32Array.from(ids).buffer));
    return this;
  }

  /** Of all ids until now. */
  get value(): string {
    return this.#hash.copy().digest('base64');
  }
}

/** The answer that a caller passed, each field read once and checked. */
function takeAnswer(fn: string, given: VisibleAnswer): VisibleAnswer {
  checkObject(fn, 'answer', given);
  const { content, reasoning, toolCalls } = given;
  for (const [arg, v] of Object.entries({ content, reasoning }))
    if (v !== undefined && v !== null) checkString(fn, `answer.${arg}`, v);
  if (toolCalls === undefined) return { content, reasoning };
  if (!Array.isArray(toolCalls))
    throw new KindError(`${fn}: "answer.toolCalls" must be an array, got ${describe(toolCalls)}`);
  const calls = Array.from(toolCalls as NonNullable<VisibleAnswer['toolCalls']>, (call, i) => {
    const where = `answer.toolCalls[${i}]`;
    checkObject(fn, where, call);
    const { id, name, arguments: args } = call;
    checkString(fn, `${where}.name`, name);
    if (id !== undefined) checkString(fn, `${where}.id`, id);
    return { id, name, arguments: args };
  });
  return { content, reasoning, toolCalls: calls };
}

/** Arguments as a value: order, escapes and spelling of numbers do not count. */
function canonical(fn: string, given: unknown): string {
  if (typeof given !== 'string') return writeJson(given ?? null, { canonical: true, name: fn });
  try {
    return writeJson(readJson(given), { canonical: true });
  } catch {
    return JSON.stringify(given);
  }
}

/** Keys under which an answer is found: what is visible, and where all calls have ids, those with the calls. */
function keysOfAnswer(fn: string, scope: string, before: string, { content, toolCalls = [] }: VisibleAnswer): string[] {
  const calls = toolCalls.map((call) => [call.name, canonical(fn, call.arguments)]);
  const hash = (parts: unknown): string => createHash('sha256').update(JSON.stringify(parts)).digest('base64');
  const keys = [`all ${hash([scope, before, trimmed(content), calls])}`];
  const ids = toolCalls.map((call) => call.id ?? '');
  if (ids.length > 0 && ids.every((id) => id !== '')) keys.push(`ids ${hash([scope, before, ids, calls])}`);
  return keys;
}
