import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  encodeConversation,
  OutputParser,
  readJson,
  writeJson,
  type OutputParserOptions,
  type Tool,
} from '../src/index';
import { encodingOf, tokenizer } from './support';
import { fed, joined, shown } from './streams';

const D = '｜DSML｜';
/** Pieces of which output is made: whole markers, halves of them, and text that looks like one. */
const PIECES = [
  '</think>',
  '<think>',
  `<${D}tool_calls>`,
  `<${D}tool_calls>\n`,
  `\n</${D}tool_calls>`,
  `<${D}function_calls>`,
  `</${D}function_calls>`,
  `<${D}other>`,
  `<${D}invoke name="known">`,
  `<${D}invoke name="unknown">\n`,
  `<${D}invoke name="__proto__">`,
  `<${D}invoke>`,
  `<${D}invoke name="">`,
  `</${D}invoke>`,
  `\n</${D}invoke>\n`,
  `<${D}parameter name="s" string="true">`,
  `<${D}parameter name="i" string="false">`,
  `<${D}parameter name="i">`,
  `<${D}parameter name="s" string="TRUE">`,
  `<${D}parameter string="false" name="x">`,
  `<${D}parameter name="arguments" string="false">`,
  `<${D}parameter name="arguments" string="true">`,
  `<${D}parameter name="a">b" string="true">`,
  `<${D}parameter nam`,
  `</${D}parameter>`,
  `</${D}`,
  `<${D}`,
  `</${D} x>`,
  D,
  '<',
  '</',
  '<｜',
  '>',
  '">',
  '"',
  ' string="true">',
  '\n',
  '\n\n\n',
  ' ',
  'STOP',
  'ST',
  'OP',
  'text',
  '5',
  '{"a": 1}',
  '{',
  '[1',
  'true',
  '```json\n',
  '```',
  '🙂',
  'é\\',
  '\t',
];

const TOOLS: readonly Tool[] = [
  {
    type: 'function',
    function: {
      name: 'known',
      parameters: { type: 'object', properties: { s: { type: 'string' }, i: { type: 'integer' } } },
    },
  },
];

const output = fc
  .array(
    fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom(...PIECES) },
      { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 4 }) },
    ),
    {
      maxLength: 14,
    },
  )
  .map((pieces) => pieces.join(''));
const options = fc.record({
  stage: fc.constantFrom('thinking' as const, 'content' as const, 'tool_calls' as const),
  tools: fc.constantFrom<OutputParserOptions['tools']>(true, TOOLS),
  jsonObject: fc.boolean(),
  stop: fc.constantFrom<string[]>([], ['STOP'], ['\n\n', 'OP', 'TO'], ['>']),
  parallelToolCalls: fc.boolean(),
});
const finish = fc.constantFrom('stop' as const, 'length' as const);

/** A text cut at random places, some of them twice. */
const cutUp = (text: string, places: readonly number[]): string[] => {
  const at = [...new Set(places.map((p) => p % (text.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, i) => text.slice(from, at[i] ?? text.length));
};

it('the result of any output is the same however it is cut', () => {
  fc.assert(
    fc.property(output, options, finish, fc.array(fc.nat(), { maxLength: 6 }), (text, o, why, places) => {
      const whole = fed(o, [text], why);
      expect(fed(o, cutUp(text, places), why)).toEqual(whole);
      expect(fed(o, text.split(''), why)).toEqual(whole);
    }),
    { numRuns: 1000 },
  );
});

it('without tools all is text, and cuts do not matter either', () => {
  fc.assert(
    fc.property(output, finish, fc.array(fc.nat(), { maxLength: 6 }), (text, why, places) => {
      const whole = fed({ stage: 'content' }, [text], why);
      expect(whole).toMatchObject({ tool_calls: [], finish_reason: why });
      // Only the end marker of reasoning and newlines at the start and before that marker go.
      const wanted = text.replace(/\n*<\/think>/g, '').replace(/^\n+/, '');
      expect((whole.content ?? '').replaceAll('\n', '')).toBe(wanted.replaceAll('\n', ''));
      expect(fed({ stage: 'content' }, cutUp(text, places), why)).toEqual(whole);
    }),
    { numRuns: 1000 },
  );
});

it('with any tool declared no marker of a call is shown, and complete calls have JSON arguments', () => {
  fc.assert(
    fc.property(output, finish, fc.constantFrom('thinking' as const, 'content' as const), (text, why, stage) => {
      const { reasoning, content, tool_calls: calls, finish_reason: reason } = fed({ stage, tools: true }, [text], why);
      const malformed = text.replaceAll(/<｜DSML｜invoke(?!\s{1,16}name="[^"\n]*"\s*>)/g, '');
      if (malformed === text)
        expect(`${reasoning}${content}`).not.toMatch(/<\/?｜DSML｜(tool_calls|function_calls|invoke|parameter)/);
      if (reason === 'tool_calls') for (const call of calls) expect(readJson(call.arguments)).toBeInstanceOf(Map);
    }),
    { numRuns: 1000 },
  );
});

it('arguments come back as they were sent', () => {
  const key = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 6 }),
    fc.constantFrom('10', '2', '__proto__', 'a">b', '"', '<k>', ' string= '),
  );
  const value = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 12 }),
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom('a</b', '2>&1', '<', '\n x \n'),
  );
  // What the format cannot carry: a marker within, and in a key what ends its attribute.
  const carried = (s: string): boolean => !s.includes(`</${D}`) && !s.includes(`<${D}`);
  const args = fc
    .array(fc.tuple(key, value), { maxLength: 4 })
    .map((entries) => new Map(entries))
    .filter((m) => [...m.keys()].every((k) => carried(k) && !/"\s+string="/.test(k)) && carried(writeJson(m)));
  const names = fc.constantFrom('f', 'toString', '__proto__', 'a.b-c');
  fc.assert(
    fc.property(
      fc.array(fc.tuple(names, args), { minLength: 1, maxLength: 3 }),
      fc.string(),
      fc.string(),
      (calls, content, reasoning) => {
        fc.pre(carried(content) && !/<|\n/.test(content + reasoning));
        const { text } = encodeConversation(
          {
            messages: [
              { role: 'user', content: 'q' },
              {
                role: 'assistant',
                content,
                reasoning,
                tool_calls: calls.map(([name, map]) => ({ function: { name, arguments: writeJson(map) } })),
              },
            ],
            reasoning_effort: 'low',
          },
          { encoding: encodingOf(), tokenizer },
        );
        const answer = text.slice(text.indexOf('<think>') + 7, -'<｜end▁of▁sentence｜>'.length);
        const parser = new OutputParser({ stage: 'thinking', tools: true });
        const events = [...parser.push(answer), ...parser.end('stop')];
        expect(joined(events)).toEqual(shown(parser.result));
        expect(parser.result).toMatchObject({ content: content || null, reasoning: reasoning || null });
        const found = parser.result.toolCalls.map((call) => [call.name, writeJson(readJson(call.arguments))]);
        expect(found).toEqual(calls.map(([name, map]) => [name, writeJson(map)]));
      },
    ),
    { numRuns: 400 },
  );
});
