import { checkOneOf, KindError, UnsupportedError, ValueError } from '@megamoe/core';
import type { Tokenizer } from './tokenizer';

/** Who speaks. `latest_reminder` is DeepSeek's role for context that changes from turn to turn. */
export type ChatRole = 'system' | 'user' | 'assistant' | 'latest_reminder';

/** One message of a conversation. Its text is never read as special tokens. */
export interface ChatMessage {
  readonly role: ChatRole;
  readonly content: string;
  /** An assistant's reasoning, without `<think>` and `</think>`. Only thinking mode uses it. */
  readonly reasoning?: string;
}

/** How a conversation is rendered. */
export interface ChatOptions {
  /** Ask for reasoning before the answer. Default false: the answer follows at once. */
  readonly thinking?: boolean;
  /** In thinking mode, leave out the reasoning of turns before the last user message. Default true. */
  readonly dropThinking?: boolean;
}

/** Texts of the tokens that mark turns. */
export const CHAT_TOKENS = {
  bos: '<｜begin▁of▁sentence｜>',
  eos: '<｜end▁of▁sentence｜>',
  user: '<｜User｜>',
  assistant: '<｜Assistant｜>',
  think: '<think>',
  endThink: '</think>',
  latestReminder: '<｜latest_reminder｜>',
} as const;

const ROLES: readonly ChatRole[] = ['system', 'user', 'assistant', 'latest_reminder'];

/** Checks the messages and merges consecutive user messages. */
function prepare(messages: readonly ChatMessage[]): ChatMessage[] {
  if (messages.length === 0) throw new ValueError('encodeChatPrompt: "messages" must not be empty');
  const merged: ChatMessage[] = [];
  messages.forEach((message, i) => {
    checkOneOf('encodeChatPrompt', `messages[${i}].role`, message.role, ROLES);
    if (typeof message.content !== 'string') {
      throw new KindError(`encodeChatPrompt: "messages[${i}].content" must be a string, got ${typeof message.content}`);
    }
    if (message.reasoning !== undefined && typeof message.reasoning !== 'string') {
      throw new KindError(
        `encodeChatPrompt: "messages[${i}].reasoning" must be a string, got ${typeof message.reasoning}`,
      );
    }
    const last = merged.at(-1);
    if (message.role === 'user' && last?.role === 'user') {
      merged[merged.length - 1] = { role: 'user', content: `${last.content}\n\n${message.content}` };
    } else merged.push(message);
  });
  return merged;
}

/**
 * Token ids of a conversation, ready for the assistant's next words: BOS, then each message with its markers.
 *
 * ```text
 * system            content
 * user              <｜User｜>content, and before an answer or at the end <｜Assistant｜></think> (thinking mode: <think>)
 * assistant         content<｜end▁of▁sentence｜>          (thinking mode, after the last user: reasoning</think>content...)
 * latest_reminder   <｜latest_reminder｜>content
 * ```
 *
 * Rules of DeepSeek's `encoding/encoding_dsv4.py` for conversations without tools. Markers are put in as ids and the text between
 * them is encoded as plain text, so a message that spells a marker cannot forge a turn.
 *
 * @throws ValueError for no messages or an unknown role, KindError for content that is no string, UnsupportedError when the tokenizer
 *   lacks a marker
 */
export function encodeChatPrompt(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): number[] {
  const { thinking = false, dropThinking = true } = options;
  const turns = prepare(messages);
  const lastUser = turns.findLastIndex((m) => m.role === 'user');
  const ids: number[] = [];
  let text = ''; // neighbouring texts are encoded in one piece, as they would be in a rendered prompt
  const flush = (): void => {
    for (const id of tokenizer.encode(text, { parseSpecial: false })) ids.push(id);
    text = '';
  };
  const mark = (name: keyof typeof CHAT_TOKENS): void => {
    flush();
    const token = CHAT_TOKENS[name];
    const id = tokenizer.specialIds.get(token);
    if (id === undefined) throw new UnsupportedError(`encodeChatPrompt: this tokenizer has no token ${token}`);
    ids.push(id);
  };

  mark('bos');
  turns.forEach(({ role, content, reasoning }, i) => {
    const current = !dropThinking || i >= lastUser; // whether this turn's reasoning is shown
    if (role === 'user') mark('user');
    if (role === 'latest_reminder') mark('latestReminder');
    if (role === 'assistant' && thinking && current) {
      text += reasoning ?? '';
      mark('endThink');
    }
    text += content;
    if (role === 'assistant') mark('eos');
    const next = turns[i + 1]?.role;
    if (role === 'user' && (next === undefined || next === 'assistant' || next === 'latest_reminder')) {
      mark('assistant');
      mark(thinking && current ? 'think' : 'endThink');
    }
  });
  flush();
  return ids;
}
