import { describe, expect, it } from 'vitest';
import { OutputParser, type OutputEvent, type OutputParserOptions, type Tool } from '../src/index';
import { fed } from './streams';
import { thrown } from './support';

const D = '｜DSML｜';
const block = (...calls: string[]): string => `<${D}tool_calls>\n${calls.join('\n')}\n</${D}tool_calls>`;
const invoke = (name: string, ...parameters: string[]): string =>
  `<${D}invoke name="${name}">\n${parameters.join('\n')}\n</${D}invoke>`;
const text = (key: string, value: string): string =>
  `<${D}parameter name="${key}" string="true">${value}</${D}parameter>`;
const json = (key: string, value: string): string =>
  `<${D}parameter name="${key}" string="false">${value}</${D}parameter>`;
const bare = (key: string, value: string): string => `<${D}parameter name="${key}">${value}</${D}parameter>`;
const call = (name: string, args: string) => ({ name, arguments: args });
const tool = (name: string, properties?: object): Tool => ({
  type: 'function',
  function: { name, parameters: properties ? { type: 'object', properties } : {} },
});

/** What output gives, in one piece and by character. */
function parsed(output: string, options: OutputParserOptions = { tools: true }, finish: 'stop' | 'length' = 'stop') {
  const whole = fed(options, [output], finish);
  expect(fed(options, output.split(''), finish)).toEqual(whole);
  return whole;
}

/** Events by piece. */
function events(pieces: readonly string[], options: OutputParserOptions = { tools: true }): OutputEvent[][] {
  const parser = new OutputParser(options);
  return [...pieces.map((piece) => parser.push(piece)), parser.end()];
}

describe('complaints of users of other servers, which must not come back', () => {
  it('vllm#40801: no piece of a marker reaches content while it streams', () => {
    const output = `Let me look.\n\n${block(invoke('f', text('a', 'x')))}`;
    const shown = events(output.split(''))
      .flat()
      .filter((e) => e.type === 'content');
    expect(shown.map((e) => e.text).join('')).toBe('Let me look.');
  });

  it('vllm#53227: a value that ends with > keeps it, and its end tag does not leak', () => {
    expect(parsed(block(invoke('bash', text('cmd', 'x 2>&1 >'))))).toMatchObject({
      tool_calls: [call('bash', '{"cmd": "x 2>&1 >"}')],
    });
  });

  it('vllm#52846: a long text comes as it is sampled', () => {
    const pieces = [
      `<${D}tool_calls>\n<${D}invoke name="w">\n<${D}parameter name="s" string="true">`,
      'one ',
      'two ',
      'three',
    ];
    expect(events(pieces).slice(0, 4)).toEqual([
      [
        { type: 'tool_call', index: 0, name: 'w' },
        { type: 'arguments', index: 0, text: '{"s": "' },
      ],
      [{ type: 'arguments', index: 0, text: 'one ' }],
      [{ type: 'arguments', index: 0, text: 'two ' }],
      [{ type: 'arguments', index: 0, text: 'three' }],
    ]);
  });

  it('TensorRT-LLM#17572: the < of a false start comes out', () => {
    expect(parsed('a < b <')).toMatchObject({ content: 'a < b <' });
    expect(parsed('a <｜DSML', { tools: true }, 'length')).toMatchObject({ content: 'a <｜DSML' });
    expect(events(['a <', 'b'])[1]).toEqual([{ type: 'content', text: '<b' }]);
  });

  it('sglang#32539: a call within open reasoning is a call', () => {
    const output = `I need it.\n\n${block(invoke('f', text('a', 'x')))}`;
    expect(parsed(output, { tools: true, stage: 'thinking' })).toEqual({
      reasoning: 'I need it.',
      content: null,
      tool_calls: [call('f', '{"a": "x"}')],
      finish_reason: 'tool_calls',
      stop_sequence: null,
    });
  });

  it('vllm#56184: an empty block shows what follows, stray end tags vanish', () => {
    expect(parsed(`Hi\n\n${block()}\n\nafter`)).toMatchObject({ content: 'Hi\n\n\n\nafter', finish_reason: 'stop' });
    expect(parsed(`a</${D}parameter>b</${D}invoke>\nc</${D}tool_calls>d`)).toMatchObject({ content: 'ab\ncd' });
    expect(parsed(`r${block()} more</think>c`, { tools: true, stage: 'thinking' })).toMatchObject({
      reasoning: 'r more',
      content: 'c',
    });
  });

  it('vllm#54686: a quoted invoke of an undeclared name is text, whole', () => {
    const quoted = invoke('example', text('a', 'x'));
    const tools = [tool('known')];
    expect(parsed(`Write ${quoted} so.`, { tools })).toMatchObject({
      content: `Write ${quoted} so.`,
      tool_calls: [],
      finish_reason: 'stop',
    });
    expect(parsed(`Write <${D}invoke name="x`, { tools })).toMatchObject({ content: 'Write ' });
    // A real call after it is one, declared or not when it stands in its block.
    expect(parsed(`${quoted}\n\n${block(invoke('other'))}`, { tools })).toMatchObject({
      content: quoted,
      tool_calls: [call('other', '{}')],
    });
    expect(parsed(`${quoted}\n${invoke('known')}`, { tools })).toMatchObject({ tool_calls: [call('known', '{}')] });
    // A block of an unknown kind is none when its invoke is not declared.
    expect(parsed(`<${D}other>\n${quoted}`, { tools })).toMatchObject({ content: quoted, tool_calls: [] });
    expect(parsed(`<${D}other>\n${invoke('known')}`, { tools })).toMatchObject({ tool_calls: [call('known', '{}')] });
    expect(parsed(`see <${D}invoke>`, { tools })).toMatchObject({ content: `see <${D}invoke>` });
  });

  it.each(['arguments', 'input'])(
    'sglang#38924: a spurious wrapper %s is taken off, a property of that name is not',
    (key) => {
      const wrapped = (value: string) => block(invoke('f', json(key, value)));
      const given = '{"city": "Paris"}';
      const own = [tool('f', { city: {} })];
      expect(parsed(wrapped(given), { tools: own })).toMatchObject({ tool_calls: [call('f', given)] });
      expect(parsed(block(invoke('f', text(key, given))), { tools: own })).toMatchObject({
        tool_calls: [call('f', given)],
      });
      const kept = { tool_calls: [call('f', `{"${key}": ${given}}`)] };
      expect(parsed(wrapped(given), { tools: [tool('f', { [key]: {} })] })).toMatchObject(kept);
      expect(parsed(wrapped(given), { tools: [tool('f')] })).toMatchObject(kept); // any property may be
      expect(parsed(wrapped(given), { tools: true })).toMatchObject(kept);
      // Not alone, or no object: no wrapper.
      expect(parsed(block(invoke('f', json(key, given), text('b', 'c'))), { tools: own })).toMatchObject({
        tool_calls: [call('f', `{"${key}": ${given}, "b": "c"}`)],
      });
      expect(parsed(wrapped('[1]'), { tools: own })).toMatchObject({ tool_calls: [call('f', `{"${key}": [1]}`)] });
      expect(parsed(block(invoke('f', text('b', 'c'), json(key, given))), { tools: own })).toMatchObject({
        tool_calls: [call('f', `{"b": "c", "${key}": ${given}}`)],
      });
    },
  );

  it('vllm#18412: a call begins once, and each call has its own index', () => {
    const all = events([...block(invoke('f', text('a', 'x')), invoke('f', text('a', 'y')))]).flat();
    expect(all.filter((e) => e.type === 'tool_call')).toEqual([
      { type: 'tool_call', index: 0, name: 'f' },
      { type: 'tool_call', index: 1, name: 'f' },
    ]);
  });

  it('AI SDK closes a call at the first JSON that is whole: no beginning of arguments is', () => {
    const output = block(invoke('f', json('a', '5'), text('b', 'x'), json('c', '{"d": []}')), invoke('g'));
    let so = '';
    let index = -1;
    for (const event of events([...output]).flat()) {
      if (event.type === 'tool_call') [index, so] = [event.index, ''];
      if (event.type !== 'arguments') continue;
      expect(() => JSON.parse(so) as unknown, `call ${index}: ${so}`).toThrow();
      so += event.text;
    }
    expect(so).toBe('{}');
  });

  it('vllm-ascend#9120: a value that is no JSON is a text', () => {
    for (const value of ['{k: 1', '', 'NaN', '01', "'a'", '1 2', '\u00a05']) {
      expect(parsed(block(invoke('f', json('a', value)))).tool_calls).toEqual([
        call('f', `{"a": ${JSON.stringify(value)}}`),
      ]);
    }
  });
});

describe('arguments', () => {
  const properties = {
    i: { type: 'integer' },
    s: { type: 'string' },
    u: { type: ['string', 'null'] },
    n: { anyOf: [{ type: 'number' }, { type: 'null' }] },
    e: { enum: ['a', 'b'] },
    c: { const: 3 },
    o: {},
  };
  it.each<[string, string, string]>([
    ['i', '5', '5'],
    ['i', 'five', '"five"'],
    ['s', '5', '"5"'],
    ['u', 'null', '"null"'],
    ['n', 'null', 'null'],
    ['e', 'a', '"a"'],
    ['c', '3', '3'],
    ['o', '5', '"5"'],
    ['unlisted', 'true', '"true"'],
  ])('without the attribute the schema of %s makes %s %s', (key, value, wanted) => {
    const tools = [tool('f', properties)];
    expect(parsed(block(invoke('f', bare(key, value))), { tools }).tool_calls).toEqual([
      call('f', `{"${key}": ${wanted}}`),
    ]);
    const other = bare(key, value).replace('">', '" string="True">');
    expect(parsed(block(invoke('f', other)), { tools }).tool_calls).toEqual([call('f', `{"${key}": ${wanted}}`)]);
  });

  it('attributes in the other order, and names of prototypes', () => {
    expect(parsed(block(invoke('f', `<${D}parameter string="false" name="a">5</${D}parameter>`))).tool_calls).toEqual([
      call('f', '{"a": 5}'),
    ]);
    for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      expect(parsed(block(invoke(name, bare(name, 'x'))), { tools: [tool(name, {})] }).tool_calls).toEqual([
        call(name, `{"${name}": "x"}`),
      ]);
      expect(parsed(invoke(name), { tools: [tool('f')] }).tool_calls).toEqual([]);
    }
  });

  it('nesting as deep as the text allows', () => {
    const deep = '['.repeat(200_000) + ']'.repeat(200_000);
    expect(fed({ tools: true }, [block(invoke('f', json('a', deep)))]).tool_calls[0]!.arguments).toBe(`{"a": ${deep}}`);
  });

  it('an end tag that is missing, or another one', () => {
    const open = `<${D}parameter name="a" string="true">x`;
    const wanted = { tool_calls: [call('f', '{"a": "x"}')], finish_reason: 'tool_calls', content: null };
    expect(parsed(`<${D}tool_calls><${D}invoke name="f">${open}</${D}invoke></${D}tool_calls>late`)).toMatchObject(
      wanted,
    );
    expect(parsed(`<${D}tool_calls><${D}invoke name="f">${open}</${D}tool_calls>late`)).toMatchObject(wanted);
    expect(parsed(`<${D}tool_calls><${D}invoke name="f">${open}</${D}other>`)).toMatchObject(wanted);
    expect(
      parsed(`<${D}tool_calls><${D}invoke name="f">${open}</${D}parameter></${D}function_calls>late`),
    ).toMatchObject(wanted);
    expect(
      parsed(`<${D}tool_calls><${D}invoke name="f">${text('a', 'x')}<${D}invoke name="g">${text('b', 'y')}`),
    ).toMatchObject({
      tool_calls: [call('f', '{"a": "x"}'), call('g', '{"b": "y"}')],
    });
  });

  it('a call that ends with the block ends the answer: what comes after is no call', () => {
    const ended = `<${D}tool_calls><${D}invoke name="f">${text('a', 'x')}</${D}tool_calls>`;
    const parser = new OutputParser({ tools: true });
    parser.push(ended);
    expect(parser.done).toBe(true);
    expect(parser.push(block(invoke('g')))).toEqual([]);
    parser.end('length');
    expect(parser.result).toMatchObject({ toolCalls: [call('f', '{"a": "x"}')], finishReason: 'tool_calls' });
  });

  it('with one call at most the first ends the answer', () => {
    const output = block(invoke('f', json('a', '1')), invoke('g'));
    expect(parsed(output, { tools: true, parallelToolCalls: false })).toMatchObject({
      tool_calls: [call('f', '{"a": 1}')],
      finish_reason: 'tool_calls',
    });
  });
});

describe('output that is cut off', () => {
  const begun = `<${D}tool_calls>\n<${D}invoke name="f">\n`;
  it.each<[string, string, 'stop' | 'length', readonly unknown[], string]>([
    ['after the name', begun, 'length', [], 'length'],
    ['within a header', `${begun}<${D}parameter name="a" str`, 'length', [], 'length'],
    [
      'within a first value that is no JSON',
      `${begun}<${D}parameter name="a" string="false">{"k"`,
      'length',
      [],
      'length',
    ],
    [
      'within a value that is JSON',
      `${begun}<${D}parameter name="a" string="false">12`,
      'length',
      [call('f', '{"a": 12')],
      'length',
    ],
    [
      'within a later value that is no JSON',
      `${begun}${text('a', 'x')}\n<${D}parameter name="b" string="false">[1,`,
      'length',
      [call('f', '{"a": "x"')],
      'length',
    ],
    [
      'within a text',
      `${begun}<${D}parameter name="a" string="true">Par</｜DS`,
      'length',
      [call('f', '{"a": "Par</｜DS')],
      'length',
    ],
    [
      'within a text, by its end',
      `${begun}<${D}parameter name="a" string="true">Par`,
      'stop',
      [call('f', '{"a": "Par')],
      'length',
    ],
    ['between parameters', `${begun}${text('a', 'x')}\n`, 'length', [call('f', '{"a": "x"')], 'length'],
    ['between parameters, by its end', `${begun}${text('a', 'x')}\n`, 'stop', [call('f', '{"a": "x"}')], 'tool_calls'],
    [
      'within a header, by its end',
      `${begun}${text('a', 'x')}\n<${D}parameter name="b`,
      'stop',
      [call('f', '{"a": "x"')],
      'length',
    ],
    ['after a call', `${begun}</${D}invoke>\n`, 'length', [call('f', '{}')], 'length'],
    ['within the second call', `${begun}</${D}invoke>\n<${D}invoke name="g">`, 'length', [call('f', '{}')], 'length'],
    [
      'within the end tag of a call',
      `${begun}${text('a', 'x')}\n</${D}inv`,
      'length',
      [call('f', '{"a": "x"}')],
      'length',
    ],
    ['within the end tag of a call without arguments', `${begun}</${D}`, 'stop', [call('f', '{}')], 'tool_calls'],
    ['without the attribute', `${begun}<${D}parameter name="a">Par`, 'length', [call('f', '{"a": "Par')], 'length'],
  ])('%s', (_, output, finish, calls, reason) => {
    expect(parsed(output, { tools: true }, finish)).toMatchObject({
      tool_calls: calls,
      finish_reason: reason,
      content: null,
    });
  });

  it('a wrapper that was held back comes out', () => {
    const tools = [tool('f', { city: {} })];
    expect(parsed(`${begun}${json('arguments', '{"a": 1}')}`, { tools }, 'length').tool_calls).toEqual([
      call('f', '{"arguments": {"a": 1}'),
    ]);
    expect(parsed(`${begun}<${D}parameter name="input" string="true">some`, { tools }, 'length').tool_calls).toEqual([
      call('f', '{"input": "some'),
    ]);
  });
});

describe('stop texts', () => {
  it('count in content only, the first to be complete, of several at one place the longest', () => {
    const stop = ['END', 'ND', 'x'];
    expect(parsed('think END</think>say END now', { stage: 'thinking', stop })).toMatchObject({
      reasoning: 'think END',
      content: 'say ',
      stop_sequence: 'END',
      finish_reason: 'stop',
    });
    expect(parsed('abx', { stop: 'bx' })).toMatchObject({ content: 'a', stop_sequence: 'bx' });
    expect(parsed('aab', { stop: ['aab', 'ab'] })).toMatchObject({ content: null, stop_sequence: 'aab' });
  });

  it('newlines before a call are none of content', () => {
    const output = `a\n\n${block(invoke('f'))}`;
    expect(parsed(output, { tools: true, stop: ['\n\n'] })).toMatchObject({
      content: 'a',
      tool_calls: [call('f', '{}')],
    });
    expect(parsed('a\n\n', { tools: true, stop: ['\n\n'] }, 'length')).toMatchObject({
      content: 'a',
      stop_sequence: '\n\n',
      finish_reason: 'stop',
    });
    expect(parsed('\n\na', { stop: ['\n\n'] })).toMatchObject({ content: 'a', stop_sequence: null });
  });

  it('what could become one is held back and comes out', () => {
    expect(events(['one EN', 'TER'], { stop: ['END'] })).toEqual([
      [{ type: 'content', text: 'one ' }],
      [{ type: 'content', text: 'ENTER' }],
      [{ type: 'finish', finishReason: 'stop', stopSequence: null }],
    ]);
    expect(parsed(`a EN${block(invoke('f'))}`, { tools: true, stop: ['END'] })).toMatchObject({ content: 'a EN' });
  });

  it('ends the answer', () => {
    const parser = new OutputParser({ stop: ['.'] });
    parser.push('a.b');
    expect(parser.done).toBe(true);
    expect(parser.push('c')).toEqual([]);
  });
});

describe('JSON alone', () => {
  it.each<[string, string]>([
    ['Sure [see below]:\n{"a": "}\\"]"} and more {"b": 1}', '{"a": "}\\"]"}'],
    ['{ "a": [1, {"b": "{"}] }x', '{ "a": [1, {"b": "{"}] }'],
    ['{}', '{}'],
    ['[ ]', '[ ]'],
    ['{x} {"a": 1}', '{"a": 1}'],
    ['no JSON at all', 'no JSON at all'],
    ['```json\n42\n```', '42'],
    ['{"a": ', '{"a": '],
  ])('%j is %j', (output, wanted) => {
    expect(parsed(output, { jsonObject: true })).toMatchObject({ content: wanted });
  });

  it('goes with reasoning, calls and stop texts, and ends the answer without tools', () => {
    expect(parsed('r [1]</think>\n```\n{"a": 1}\n```', { stage: 'thinking', jsonObject: true })).toMatchObject({
      reasoning: 'r [1]',
      content: '{"a": 1}',
    });
    expect(parsed(`{"a": 1}\n\n${block(invoke('f'))}`, { tools: true, jsonObject: true })).toMatchObject({
      content: '{"a": 1}',
      tool_calls: [call('f', '{}')],
    });
    expect(parsed('x {"a": 1, "b": 2}', { jsonObject: true, stop: [', '] })).toMatchObject({ content: '{"a": 1' });
    const parser = new OutputParser({ jsonObject: true });
    parser.push('{"a": 1}');
    expect(parser.done).toBe(true);
    expect(parser.end('length')).toEqual([{ type: 'finish', finishReason: 'stop', stopSequence: null }]);
  });
});

describe('streams', () => {
  it('never shows half a character', () => {
    const pieces = [
      'a\ud83d',
      '\ude42',
      `b\n\n<${D}tool_calls><${D}invoke name="f"><${D}parameter name="a" string="true">\ud83d`,
      '\ude42\ud83d',
    ];
    const shown = events(pieces);
    for (const event of shown.slice(0, -1).flat())
      if ('text' in event) expect(event.text).not.toMatch(/[\ud800-\udbff]$/);
    expect(shown[0]).toEqual([{ type: 'content', text: 'a' }]);
    expect(shown[1]).toEqual([{ type: 'content', text: '🙂' }]);
    expect(fed({}, ['a\ud83d'])).toMatchObject({ content: 'a\ud83d' }); // a half that stays one
  });

  it('a stray </think> in content goes alone, the newlines beside it are content', () => {
    expect(parsed('a\n\n</think>\nb')).toMatchObject({ content: 'a\n\n\nb' });
    expect(parsed('\n</think>\n\nb')).toMatchObject({ content: '\n\nb' });
    expect(parsed('r\n</think>\na\n</think>', { stage: 'thinking' }, 'length')).toMatchObject({ reasoning: 'r', content: 'a\n' }); // prettier-ignore
  });

  it('newlines at the start are text when the output goes on with what the prompt has begun', () => {
    expect(parsed('\ndef f():', { continued: true })).toMatchObject({ content: '\ndef f():' });
    expect(parsed('\n\nnk</think>\na', { stage: 'thinking', continued: true })).toMatchObject({
      reasoning: '\n\nnk',
      content: 'a',
    });
  });

  it('names at their longest, and one longer', () => {
    for (const n of [63, 64, 65]) {
      const name = 'n'.repeat(n);
      const shown = n > 64 ? `${name}>` : '';
      expect(parsed(`a<${D}${name}>b`)).toMatchObject({ content: `a${shown}b` });
      expect(parsed(`a</${D}${name}>b`)).toMatchObject({ content: `a${shown}b` });
    }
    for (const n of [256, 257]) {
      const calls = parsed(invoke('f'.repeat(n))).tool_calls;
      expect(calls).toHaveLength(n > 256 ? 0 : 1);
    }
    for (const n of [4000, 5000]) {
      const args = parsed(block(invoke('f', json('k'.repeat(n), '1')))).tool_calls[0]!.arguments;
      expect(args).toBe(n > 4096 ? '{}' : `{"${'k'.repeat(n)}": 1}`);
    }
  });

  it('takes a long answer in linear time', () => {
    const parser = new OutputParser({ tools: true, stage: 'thinking', stop: ['never'] });
    const started = performance.now();
    for (let i = 0; i < 50_000; i++) parser.push('\n<');
    parser.push(`</think>\n<${D}tool_calls><${D}invoke name="f"><${D}parameter name="a" string="false">"`);
    for (let i = 0; i < 50_000; i++) parser.push('</');
    parser.push(`"</${D}parameter></${D}invoke></${D}tool_calls>`);
    parser.end();
    expect(parser.result.toolCalls[0]!.arguments).toHaveLength(100_009);
    // Quadratic, this takes minutes: the bound only tells the two apart.
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  it('a parser is for one answer, and end may be called again', () => {
    const parser = new OutputParser();
    expect(parser.result.finishReason).toBeNull();
    parser.end();
    expect(parser.end()).toEqual([]);
    expect(thrown(() => parser.push('x'))).toBe(
      'ERR_UNSUPPORTED: OutputParser.push: the output has ended; a parser is for one answer',
    );
  });

  it.each<[object, string]>([
    [{ stage: 'tools' }, 'ERR_VALUE: OutputParser: "stage" must be one of thinking, content, tool_calls, got tools'],
    [{ stage: 'tool_calls' }, 'ERR_UNSUPPORTED: OutputParser: stage tool_calls needs tools'],
    [{ stop: [''] }, 'ERR_VALUE: OutputParser: "stop" must not have an empty text'],
    [{ stop: [5] }, 'ERR_KIND: OutputParser: "stop" must be a text or a list of texts, got number'],
    [{ tools: {} }, 'ERR_KIND: OutputParser: "tools" must be true, false or a list of tools, got an object'],
    [{ tools: [{}] }, 'ERR_KIND: OutputParser: "tools[0].function" must be an object with a name, got undefined'],
  ])('refuses %j', (options, message) => {
    expect(thrown(() => new OutputParser(options as OutputParserOptions))).toBe(message);
  });

  it('refuses what is no text, and an unknown end', () => {
    const parser = new OutputParser();
    expect(thrown(() => parser.push(5 as unknown as string))).toBe(
      'ERR_KIND: OutputParser.push: "text" must be a string, got number',
    );
    expect(thrown(() => parser.end('eos' as 'stop'))).toBe(
      'ERR_VALUE: OutputParser.end: "finish" must be one of stop, length, got eos',
    );
  });

  it('an output that begins in the block of calls', () => {
    const options = { tools: true, stage: 'tool_calls' } as const;
    expect(parsed(`${invoke('f')}\n</${D}tool_calls>`, options)).toMatchObject({ tool_calls: [call('f', '{}')] });
    expect(parsed('Sorry, no.', options)).toMatchObject({ content: 'Sorry, no.', finish_reason: 'stop' });
  });
});
