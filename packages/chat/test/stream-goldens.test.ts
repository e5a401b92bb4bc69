import { describe, expect, it } from 'vitest';
import { type OutputParserOptions } from '../src/index';
import { ENCODE_CASES, STREAM_CASES, type StreamCase } from './support';
import { fed, type Shown } from './streams';

const call = (name: string, args: string) => ({ name, arguments: args });

/** Where we depart from DeepSeek's server on purpose: what we give instead, and why. */
const DEPARTURES: Readonly<Record<string, { readonly why: string; readonly output: Partial<Shown> }>> = {
  'tool-json-bad': {
    why: 'a value that is no JSON is sent as a text, so that the arguments are JSON',
    output: { tool_calls: [call('f', '{"o": "{k: 1"}')] },
  },
  'tool-missing-string-attr': {
    why: 'without the attribute the schema decides, else it is text',
    output: { tool_calls: [call('f', '{"a": "1"}')] },
  },
  'tool-string-attr-other': {
    why: 'anything but true and false counts as missing',
    output: { tool_calls: [call('f', '{"a": "1"}')] },
  },
  'tool-empty-block': {
    why: 'an empty block is no call: the text after it is shown and the newlines before it are kept',
    output: { content: 'Hi\n\n after' },
  },
  'tool-trunc-after-name': {
    why: 'a call that is cut off after its name is none',
    output: { tool_calls: [] },
  },
  'stop-two': { why: 'the stop text goes into stop_sequence', output: { finish_reason: 'stop' } },
  'stop-newlines': { why: 'the stop text goes into stop_sequence', output: { finish_reason: 'stop' } },
  'stop-before-tool': { why: 'the stop text goes into stop_sequence', output: { finish_reason: 'stop' } },
  'json-fence-plain': { why: 'text around the JSON is dropped, blanks too', output: { content: '[1]' } },
  'json-leading-text': { why: 'text around the JSON is dropped, blanks too', output: { content: '{"a": 1}' } },
  'json-fence-trailing': { why: 'text around the JSON is dropped, blanks too', output: { content: '{"a": 1}' } },
  'json-trailing-text': { why: 'text around the JSON is dropped', output: { content: '{"a": 1}' } },
};

const optionsOf = ({ stage, tools_declared: tools, json_object: jsonObject, stop }: StreamCase['input']) =>
  ({ stage, tools, jsonObject, stop }) satisfies OutputParserOptions;

describe('every output of the goldens', () => {
  it.each(STREAM_CASES)('$id', ({ id, input, output }) => {
    const options = optionsOf(input);
    const wanted = { ...output, ...DEPARTURES[id]?.output };
    const { text, backend_finish: finish } = input;
    expect(fed(options, [text], finish), 'in one piece').toEqual(wanted);
    expect(fed(options, [...text], finish), 'by character').toEqual(wanted);
    expect(fed(options, text.split(''), finish), 'by UTF-16 unit').toEqual(wanted);
    for (let cut = 1; cut < text.length; cut++) {
      expect(fed(options, [text.slice(0, cut), text.slice(cut)], finish), `cut at ${cut}`).toEqual(wanted);
    }
    for (let size = 2; size < 9; size++) {
      const pieces = text.match(new RegExp(`[\\s\\S]{1,${size}}`, 'g')) ?? [];
      expect(fed(options, pieces, finish), `pieces of ${size}`).toEqual(wanted);
    }
  });

  it('departs from DeepSeek in these cases only, and really', () => {
    for (const { id, output } of STREAM_CASES) {
      const ours = DEPARTURES[id]?.output;
      if (ours) expect(output, id).not.toEqual({ ...output, ...ours });
    }
    const ids = STREAM_CASES.map((c) => c.id);
    expect(Object.keys(DEPARTURES).filter((id) => !ids.includes(id))).toEqual([]);
  });

  it('gives arguments that are JSON wherever the call is complete', () => {
    for (const { input } of STREAM_CASES) {
      const { tool_calls: calls, finish_reason: reason } = fed(optionsOf(input), [input.text], input.backend_finish);
      if (reason === 'tool_calls')
        for (const { arguments: args } of calls) expect(() => JSON.parse(args), args).not.toThrow();
    }
  });
});

/** Texts that DeepSeek's strict parser refuses, and how they read here: the first end of sentence ends them, as it ends generation. */
const LENIENT: Readonly<Record<string, Partial<Shown>>> = {
  'parse-err-missing-think-end': { reasoning: 'never closed' },
  'parse-err-call-inside-thinking': { reasoning: 'r', tool_calls: [call('f', '{"a": "x"}')] },
  'parse-err-missing-eos': { content: 'truncated ans' },
  'parse-err-missing-eos-thinking': { reasoning: 'r', content: 'truncated ans' },
  'parse-err-truncated-invoke': {},
  'parse-err-truncated-after-parameter': { tool_calls: [call('f', '{"a": "x"}')] },
  'parse-err-missing-block-end': { tool_calls: [call('f', '{"a": "x"}')] },
  'parse-err-no-newline-after-block': { tool_calls: [call('f', '{"a": "x"}')] },
  'parse-err-text-after-block': { tool_calls: [call('f', '{"a": "x"}')] },
  'parse-err-two-blocks': { tool_calls: [call('f', '{"a": "x"}')] },
  'parse-err-duplicate-parameter': { tool_calls: [call('f', '{"a": "x", "a": "y"}')] },
  'parse-err-missing-string-attribute': { tool_calls: [call('f', '{"a": "x"}')] },
  'parse-err-attribute-order': { tool_calls: [call('f', '{"a": "x"}')] },
  'parse-err-text-between-invokes': { tool_calls: [call('f', '{"a": "x"}'), call('g', '{"a": "x"}')] },
  'parse-err-no-newline-before': { tool_calls: [call('f', '{"a": "x"}')] },
  'parse-err-v32-block-name': { tool_calls: [call('f', '{"a": "x"}')] },
  'parse-err-second-think-end': { reasoning: 'r', content: 'ab' },
  'parse-err-think-end-in-chat': { content: 'a' },
  'parse-err-after-eos': { content: 'a' },
  'parse-value-contains-parameter-end': { tool_calls: [call('f', '{"x": "a"}')] },
};

describe('every text of the strict parser', () => {
  it.each(ENCODE_CASES.filter((c) => c.kind === 'parse'))('$id', ({ id, input, output }) => {
    const text = (input.text as string).split('<｜end▁of▁sentence｜>')[0]!;
    const options: OutputParserOptions = {
      stage: input.thinking_mode === 'thinking' ? 'thinking' : 'content',
      tools: true,
    };
    const found = fed(options, [text], 'stop');
    const nothing = { reasoning: null, content: null, tool_calls: [], stop_sequence: null };
    if (!output) {
      const wanted = { ...nothing, ...LENIENT[id] };
      expect(LENIENT, id).toHaveProperty(id);
      expect(found).toEqual({ ...wanted, finish_reason: wanted.tool_calls.length > 0 ? 'tool_calls' : 'stop' });
      return;
    }
    interface Strict {
      readonly content: string;
      readonly reasoning_content: string;
      readonly tool_calls: readonly { readonly function: { readonly name: string; readonly arguments: string } }[];
    }
    const message = output as unknown as Strict;
    const calls = message.tool_calls.map((c) => ({ ...c.function }));
    // A value that is no JSON is sent as a text: here the empty one, which the strict parser copies.
    if (id === 'parse-empty-json-value') calls[0] = call('f', '{"x": ""}');
    expect(found).toEqual({
      ...nothing,
      reasoning: message.reasoning_content || null,
      content: message.content || null,
      tool_calls: calls,
      finish_reason: calls.length > 0 ? 'tool_calls' : 'stop',
    });
  });
});
