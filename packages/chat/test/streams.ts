import { expect } from 'vitest';
import { OutputParser, type OutputEvent, type OutputParserOptions, type ParsedOutput } from '../src/index';

/** Output in the names of the goldens. */
export interface Shown {
  readonly reasoning: string | null;
  readonly content: string | null;
  readonly tool_calls: readonly { readonly name: string; readonly arguments: string }[];
  readonly finish_reason: string | null;
  readonly stop_sequence: string | null;
}

export const shown = ({ toolCalls, finishReason, stopSequence, ...rest }: ParsedOutput): Shown => ({
  ...rest,
  tool_calls: toolCalls,
  finish_reason: finishReason,
  stop_sequence: stopSequence,
});

/** What the events of an answer join to; checks the rules that clients rely on. */
export function joined(events: readonly OutputEvent[]): Shown {
  let reasoning: string | null = null;
  let content: string | null = null;
  const calls: { name: string; arguments: string; ended: boolean }[] = [];
  let finish: OutputEvent | undefined;
  for (const event of events) {
    expect(finish, 'nothing comes after the finish').toBeUndefined();
    if ('text' in event) expect(event.text, 'no empty piece').not.toBe('');
    switch (event.type) {
      case 'reasoning':
        expect(content, 'no reasoning after content').toBeNull();
        reasoning = (reasoning ?? '') + event.text;
        break;
      case 'content':
        expect(calls, 'no content after a call').toEqual([]);
        content = (content ?? '') + event.text;
        break;
      case 'tool_call':
        expect(event.index, 'calls are counted').toBe(calls.length);
        calls.push({ name: event.name, arguments: '', ended: false });
        break;
      case 'arguments':
        expect(event.index, 'arguments are of the last call').toBe(calls.length - 1);
        expect(calls[event.index]!.ended).toBe(false);
        calls[event.index]!.arguments += event.text;
        break;
      case 'tool_call_end':
        calls[event.index]!.ended = true;
        break;
      case 'finish':
        finish = event;
    }
  }
  if (finish?.type !== 'finish') throw new Error('no finish');
  return {
    reasoning,
    content,
    tool_calls: calls.map(({ name, arguments: args }) => ({ name, arguments: args })),
    finish_reason: finish.finishReason,
    stop_sequence: finish.stopSequence,
  };
}

/** What output gives that comes in these pieces; the events must join to the result. */
export function fed(
  options: OutputParserOptions,
  pieces: readonly string[],
  finish: 'stop' | 'length' = 'stop',
): Shown {
  const parser = new OutputParser(options);
  const events = pieces.flatMap((piece) => parser.push(piece));
  events.push(...parser.end(finish));
  const result = shown(parser.result);
  expect(joined(events)).toEqual(result);
  return result;
}
