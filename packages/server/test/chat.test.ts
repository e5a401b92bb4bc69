/** What becomes of a request and of output, with an engine that says what it is told to: no model, no socket. */
import { readEncoding } from '@megamoe/chat';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createServer, type LogFields, type MegamoeServer } from '../src/index';
import { FakeEngine, idsOf } from './fake-engine';
import { readEvents, TINY, user, WEATHER, type Chunk } from './support';

let engine: FakeEngine;
let server: MegamoeServer;
const events: (LogFields & { readonly event: string })[] = [];

beforeAll(async () => {
  engine = new FakeEngine();
  server = createServer({
    open: async () => ({ engine, encoding: await readEncoding(TINY), names: ['tiny'] }),
    log: (_, event, fields) => events.push({ event, ...fields }),
  });
  await server.load();
});
beforeEach(() => {
  engine.script = {};
  engine.requests.length = 0;
  events.length = 0;
});

const says = (text: string): void => void (engine.script = { says: () => text });
const promptText = (at = 0): string => engine.tokenizer.decode(Array.from(engine.requests[at]!.tokenIds!));

async function send(body: object | string, path = '/v1/chat/completions'): Promise<Response> {
  const response = await server.fetch(
    new Request(`http://localhost${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    }),
  );
  if (response.status !== 200) throw new Error(await response.text());
  return response;
}
const ask = async (body: object | string): Promise<Chunk> => (await (await send(body)).json()) as Chunk;
const stream = async (body: object) => readEvents(await send({ ...body, stream: true }));

const call = (name: string, ...parameters: string[]): string =>
  `<｜DSML｜invoke name="${name}">\n${parameters.join('\n')}\n</｜DSML｜invoke>`;
const text = (key: string, value: string): string =>
  `<｜DSML｜parameter name="${key}" string="true">${value}</｜DSML｜parameter>`;
const block = (...calls: string[]): string => `<｜DSML｜tool_calls>\n${calls.join('\n')}\n</｜DSML｜tool_calls>`;
const paris = block(call('get_weather', text('city', 'Paris')));

describe('streams', () => {
  it('send role, reasoning, content, end, usage and [DONE], under one id', async () => {
    says('Thinking.</think>\n\nHello you.');
    const response = await send({ messages: user('Hi'), stream: true, stream_options: { include_usage: true } });
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-cache');
    expect(response.headers.get('x-accel-buffering')).toBe('no');
    const { data, done } = await readEvents(response);
    expect(done).toBe(true);
    expect(new Set(data.map(({ id, object, model, created, system_fingerprint: print }) => [id, object, model, created, print].join()))).toHaveLength(1); // prettier-ignore
    expect(data[0]!.choices[0]).toEqual({
      index: 0,
      delta: { role: 'assistant', content: '' },
      logprobs: null,
      finish_reason: null,
    });
    expect(data[0]!.reasoning_effort).toBe('high');
    const deltas = data.slice(1, -2).map(({ choices }) => choices[0]!.delta);
    expect(deltas.map((d) => d.reasoning_content ?? '').join('')).toBe('Thinking.');
    expect(deltas.map((d) => d.reasoning ?? '').join('')).toBe('Thinking.');
    expect(deltas.map((d) => d.content ?? '').join('')).toBe('Hello you.');
    expect(deltas.length).toBeGreaterThan(3);
    expect(deltas.every((d) => d.role === undefined)).toBe(true);
    expect(data.at(-2)!.choices[0]).toMatchObject({ delta: {}, finish_reason: 'stop', stop_reason: null });
    expect(data.slice(0, -1).every(({ usage }) => usage === null)).toBe(true);
    const { choices, usage, timings } = data.at(-1)!;
    expect(choices).toEqual([]);
    expect(usage!.completion_tokens).toBe(idsOf('Thinking.</think>\n\nHello you.').length + 1);
    expect(usage!.completion_tokens_details.reasoning_tokens).toBe(idsOf('Thinking.').length);
    expect(usage!.prompt_cache_hit_tokens + usage!.prompt_cache_miss_tokens).toBe(usage!.prompt_tokens);
    expect([timings!['prompt_n'], timings!['predicted_n']]).toEqual([usage!.prompt_cache_miss_tokens, usage!.completion_tokens]); // prettier-ignore
    expect(Math.min(timings!['prompt_per_second']!, timings!['predicted_per_second']!)).toBeGreaterThan(0);
  });

  it('send the figures so far with every chunk for who wants that', async () => {
    says('Thinking.</think>\n\nHello you.');
    const options = { include_usage: true, continuous_usage_stats: true };
    const { data } = await stream({ messages: user('Hi'), stream_options: options });
    const counts = data.slice(1).map(({ usage }) => usage!.completion_tokens);
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    expect([counts[0], counts.at(-1)]).toEqual([1, idsOf('Thinking.</think>\n\nHello you.').length + 1]);
  });

  it('send no usage when nobody asked', async () => {
    const { data } = await stream({ messages: user('Hi') });
    expect(data.every((chunk) => !('usage' in chunk) && chunk.choices.length === 1)).toBe(true);
  });

  it('send id, type and name of a call once, and arguments in fragments', async () => {
    says(
      `I look.</think>${block(call('get_weather', text('city', 'Paris, the capital of France')), call('get_weather', text('city', 'Rome')))}`,
    );
    const { data } = await stream({ messages: user('Weather?'), tools: [WEATHER] });
    const deltas = data.flatMap(({ choices }) => choices[0]!.delta.tool_calls ?? []);
    for (const [index, city] of [
      [0, 'Paris, the capital of France'],
      [1, 'Rome'],
    ] as const) {
      const [first, ...rest] = deltas.filter((delta) => delta.index === index);
      expect(first).toEqual({
        index,
        id: expect.stringMatching(/^call_[0-9a-f]{24}$/) as string,
        type: 'function',
        function: { name: 'get_weather', arguments: '' },
      });
      expect(rest.every((delta) => Object.keys(delta).join() === 'index,function')).toBe(true);
      expect(rest.every((delta) => Object.keys(delta.function).join() === 'arguments')).toBe(true);
      expect(rest.map((delta) => delta.function.arguments).join('')).toBe(`{"city": "${city}"}`);
      if (index === 0) expect(rest.length).toBeGreaterThan(4);
    }
    expect(data.at(-1)!.choices[0]!.finish_reason).toBe('tool_calls');
  });

  it('join to the whole answer, for every output, cut wherever tokens fall', async () => {
    for (const output of [
      'a < b and <thin',
      'No end of thinking',
      `Reason ${paris}`,
      `R</think>${block()}Text after`,
      `</think>Let me see.\n\n${paris}`,
      `R</think>${block(call('get_weather', '<｜DSML｜parameter name="city" string="false">{"a": [1, 2]}</｜DSML｜parameter>'))}`,
      'R</think>Ünïcödé 日本語 🎉',
    ]) {
      for (const tools of [undefined, [WEATHER]]) {
        says(output);
        const whole = (await ask({ messages: user('Hi'), tools })).choices[0]!;
        const { data } = await stream({ messages: user('Hi'), tools });
        const deltas = data.map(({ choices }) => choices[0]!.delta);
        const join = (name: 'content' | 'reasoning'): string => deltas.map((d) => d[name] ?? '').join('');
        for (const delta of deltas) expect(JSON.stringify(delta)).not.toMatch(/\ufffd|\\ud[89a-f]/i); // no half of a character
        expect(join('content')).toBe(whole.message.content ?? '');
        expect(join('reasoning')).toBe(whole.message.reasoning ?? '');
        const calls = deltas.flatMap((d) => d.tool_calls ?? []);
        expect(calls.filter((c) => c.id).map((c) => c.function.name)).toEqual(
          (whole.message.tool_calls ?? []).map((c) => c.function.name),
        );
        expect(calls.map((c) => c.function.arguments).join('')).toBe(
          (whole.message.tool_calls ?? []).map((c) => c.function.arguments).join(''),
        );
        expect(data.at(-1)!.choices[0]!.finish_reason).toBe(whole.finish_reason);
      }
    }
  });
});

describe('answers', () => {
  it('have content "" without calls, null with them, and both names of reasoning', async () => {
    says('Only reasoning.');
    const only = (await ask({ messages: user('Hi') })).choices[0]!;
    expect(only.message).toMatchObject({
      content: '',
      reasoning: 'Only reasoning.',
      reasoning_content: 'Only reasoning.',
    });
    expect([only.finish_reason, only.stop_reason]).toEqual(['stop', 'empty']);
    expect(events.map(({ event }) => event)).toContain('empty_answer');
    says(`I look.</think>${paris}`);
    const called = (await ask({ messages: user('Hi'), tools: [WEATHER] })).choices[0]!;
    expect(called.message.content).toBeNull();
    expect([called.finish_reason, called.stop_reason]).toEqual(['tool_calls', null]);
  });

  it('whose reasoning takes all tokens end with length, and say so in the figures', async () => {
    says('Let me think about this for a long time.</think>Yes.');
    const { choices, usage } = await ask({ messages: user('Hi'), max_tokens: 5 });
    expect(choices[0]).toMatchObject({ finish_reason: 'length', stop_reason: null, message: { content: '' } });
    expect(usage!.completion_tokens_details.reasoning_tokens).toBe(5);
  });

  it('end with length when a call is cut off', async () => {
    says(`I look.</think>${paris}`);
    const max = idsOf(`I look.</think><｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter name="city" string="true">Par`).length; // prettier-ignore
    const { choices, usage } = await ask({ messages: user('Hi'), tools: [WEATHER], max_tokens: max });
    expect(choices[0]!.finish_reason).toBe('length');
    expect(choices[0]!.message.tool_calls![0]!.function.arguments).toMatch(/^\{"city": "P/);
    expect(usage!.completion_tokens).toBe(max);
  });

  it('leave markup as text without tools, and with tool_choice none', async () => {
    says(`</think>${paris}`);
    for (const more of [{}, { tools: [WEATHER], tool_choice: 'none' }]) {
      const { message, finish_reason: finish } = (await ask({ messages: user('Hi'), ...more })).choices[0]!;
      expect([message.content, message.tool_calls, finish]).toEqual([paris, undefined, 'stop']);
    }
    expect(promptText(1)).not.toContain('get_weather');
  });

  it('end after the first call without parallel_tool_calls', async () => {
    says(`</think>${block(call('get_weather', text('city', 'Paris')), call('get_weather', text('city', 'Rome')))}`);
    const { message, finish_reason: finish } = (
      await ask({ messages: user('Hi'), tools: [WEATHER], parallel_tool_calls: false })
    ).choices[0]!;
    expect([message.tool_calls!.length, finish]).toEqual([1, 'tool_calls']);
    expect(engine.cancelled.length).toBeGreaterThan(0);
  });

  it('are n, each with its own text', async () => {
    engine.script = { says: (_, i) => `</think>Answer ${i}` };
    const { choices, usage } = await ask({ messages: user('Hi'), n: 3 });
    expect(choices.map(({ index, message }) => [index, message.content])).toEqual([
      [0, 'Answer 0'],
      [1, 'Answer 1'],
      [2, 'Answer 2'],
    ]);
    expect(usage!.completion_tokens).toBe(3 * (idsOf('</think>Answer 0').length + 1));
    const { data } = await stream({ messages: user('Hi'), n: 2 });
    for (const index of [0, 1]) {
      const own = data.filter(({ choices: [choice] }) => choice!.index === index).map(({ choices }) => choices[0]!);
      expect(own[0]!.delta.role).toBe('assistant');
      expect(own.map(({ delta }) => delta.content ?? '').join('')).toBe(`Answer ${index}`);
      expect(own.at(-1)!.finish_reason).toBe('stop');
    }
  });

  it('take the JSON out of what is around it', async () => {
    says('R</think>Here you are:\n```json\n{"a": 1}\n```\nDone.');
    const { message } = (await ask({ messages: user('JSON'), response_format: { type: 'json_object' } })).choices[0]!;
    expect(JSON.parse(message.content!)).toEqual({ a: 1 });
    const schema = { type: 'object', properties: { a: { type: 'integer' } } };
    const format = { type: 'json_schema', json_schema: { name: 'x', schema } };
    expect(
      JSON.parse((await ask({ messages: user('JSON'), response_format: format })).choices[0]!.message.content!),
    ).toEqual({ a: 1 });
    expect(promptText(1)).toContain('{"type": "object", "properties": {"a": {"type": "integer"}}}');
  });
});

describe('stops', () => {
  it('count in content only, wherever tokens fall, and end the request', async () => {
    engine.script = { says: () => 'The stop is END here.</think>Before the END after.', open: true, prefillMs: 8 };
    const { choices, usage } = await ask({ messages: user('Hi'), stop: ['END', 'never'] });
    expect(choices[0]!.message).toMatchObject({ content: 'Before the ', reasoning: 'The stop is END here.' });
    expect(choices[0]).toMatchObject({ finish_reason: 'stop', stop_reason: 'END', stop_sequence: 'END' });
    expect(usage!.completion_tokens).toBeLessThan(40);
    // The engine has not come to its own figures: what was cached it says with the prompt.
    expect([usage!.prompt_tokens_details.cached_tokens, usage!.prompt_cache_hit_tokens]).toEqual([2, 2]);
    expect(engine.cancelled.length).toBeGreaterThan(0);
    expect(engine.requests[0]!.stop).toBeUndefined();
  });

  it("of one answer end it, whatever others go on: what it says later is nobody's, and not counted", async () => {
    engine.script = { says: (_, i) => (i === 0 ? '</think>One END two three four' : '</think>A long story of four') };
    const body = { messages: user('Hi'), stop: 'END', n: 2 };
    engine.finished = [];
    const { choices, usage } = await ask(body);
    expect(choices.map(({ message, stop_sequence: stop }) => [message.content, stop])).toEqual([
      ['One ', 'END'],
      ['A long story of four', undefined],
    ]);
    const own = idsOf('</think>One END').length + idsOf('</think>A long story of four').length + 1;
    expect(usage!.completion_tokens).toBe(own);
    expect(engine.finished).toEqual([0]); // the last one's end ends the request
    const { data } = await stream({ ...body, stream_options: { include_usage: true } });
    expect(data.at(-1)!.usage!.completion_tokens).toBe(own);
    expect(data.filter(({ choices: [choice] }) => choice?.finish_reason).length).toBe(2);
  });

  it('give out what could have become one', async () => {
    says('</think>Nearly EN');
    expect((await ask({ messages: user('Hi'), stop: 'END' })).choices[0]!.message.content).toBe('Nearly EN');
    const before = block(call('get_weather', text('city', 'END')));
    says(`</think>Nearly EN${before}`);
    const { message } = (await ask({ messages: user('Hi'), tools: [WEATHER], stop: 'END' })).choices[0]!;
    expect([message.content, message.tool_calls![0]!.function.arguments]).toEqual(['Nearly EN', '{"city": "END"}']);
  });

  it('do not count before min_tokens', async () => {
    says('</think>a b c a b c a b c');
    const { choices, usage } = await ask({ messages: user('Hi'), stop: ' c', min_tokens: 8 });
    expect(usage!.completion_tokens).toBeGreaterThanOrEqual(8);
    expect(choices[0]!.message.content).toMatch(/^a b c/);
    expect(engine.requests[0]!.minTokens).toBe(8);
  });

  it('of ids are said by their id', async () => {
    const [id] = idsOf(' Rome');
    says('</think>Paris, Rome, Berlin');
    const { choices } = await ask({ messages: user('Hi'), stop_token_ids: [id!] });
    expect([choices[0]!.message.content, choices[0]!.finish_reason, choices[0]!.stop_reason]).toEqual([
      'Paris,',
      'stop',
      id,
    ]);
  });
});

describe('log-probabilities', () => {
  it('are there for each token but the last, whole and in the stream', async () => {
    says('Hm.</think>Hello there, you.');
    const body = { messages: user('Hi'), logprobs: true, top_logprobs: 0 };
    const whole = (await ask(body)).choices[0]!.logprobs!.content.map(({ token }) => token);
    expect(whole.join('')).toBe('Hm.</think>Hello there, you.');
    const { data } = await stream(body);
    expect(data.flatMap(({ choices }) => choices[0]!.logprobs?.content ?? []).map(({ token }) => token)).toEqual(whole);
  });

  it('of each of n answers come with its own chunks, those of text that was held back too', async () => {
    const outputs = ['Hm.</think>One, nearly EN', `</think>Two 🎉 ${paris}`];
    engine.script = { says: (_, i) => outputs[i]! };
    const { data } = await stream({ messages: user('Hi'), tools: [WEATHER], n: 2, logprobs: true, stop: ['END'] });
    for (const [index, output] of outputs.entries()) {
      const own = data.map(({ choices: [choice] }) => choice!).filter((choice) => choice.index === index);
      const tokens = own.flatMap(({ logprobs }) => logprobs?.content ?? []) as unknown as { bytes: number[] }[];
      expect(Buffer.from(tokens.flatMap(({ bytes }) => bytes)).toString()).toBe(output);
      expect(own.at(-1)!.finish_reason).toBe(index === 0 ? 'stop' : 'tool_calls');
    }
  });
});

describe('what the engine is asked', () => {
  it('knobs as they are given, with 64 bits of a seed', async () => {
    await ask(
      '{"messages": [{"role": "user", "content": "Hi"}], "seed": -9223372036854775808, "temperature": 0.5, "top_p": 0.9, "top_k": 7,' +
        '"min_p": 0.1, "presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.1, "logit_bias": {"5": -100, "7": 3},' +
        '"max_completion_tokens": 9, "max_tokens": 500, "ignore_eos": true, "stop_token_ids": [8], "logprobs": true, "top_logprobs": 2, "thinking": false}',
    );
    expect(engine.requests[0]).toMatchObject({
      ...{ seed: -9223372036854775808n, temperature: 0.5, topP: 0.9, topK: 7, minP: 0.1, presencePenalty: 1 },
      ...{ frequencyPenalty: -1, repetitionPenalty: 1.1, maxTokens: 9, ignoreEos: true, stopIds: [8], logprobs: 2 },
    });
    expect([...engine.requests[0]!.logitBias!]).toEqual([[5, -100], [7, 3]]); // prettier-ignore
    await ask({ messages: user('Hi'), temperature: 0.5, presence_penalty: 1 }); // while it thinks too
    expect(engine.requests[1]).toMatchObject({ temperature: 0.5, presencePenalty: 1 });
  });

  it("the checkpoint's recommendations when nothing is given", async () => {
    await ask({ messages: user('Hi') });
    const { temperature, topP, maxTokens, tokenIds } = engine.requests[0]!;
    expect([temperature, topP]).toEqual([1, 1]);
    expect(maxTokens! + tokenIds!.length).toBe(2048);
  });

  it('prefixes are shared by key and salt', async () => {
    for (const more of [{}, { cache_salt: 'a' }, { cache_salt: 'b' }, { cache_prompt: false }]) {
      await ask({ messages: user('Hi'), ...more });
    }
    const keys = engine.requests.map(({ cacheKey }) => cacheKey);
    expect(new Set(keys).size).toBe(3);
    expect(keys[3]).toBe(keys[0]);
    expect(engine.requests.map(({ reusePrefix }) => reusePrefix)).toEqual([true, true, true, false]);
  });

  it.each([
    [{}, '<think>', 'high'],
    [{ thinking: { type: 'disabled' } }, '</think>', 'none'],
    [{ thinking: { type: 'disabled' }, reasoning_effort: 'max' }, '</think>', 'none'],
    [{ reasoning_effort: 'none' }, '</think>', 'none'],
    [{ reasoning_effort: 'low' }, '<think>', 'low'],
    [{ reasoning_effort: 'medium' }, '<think>', 'high'],
    [{ reasoning_effort: 'max' }, '<think>', 'max'],
    [{ chat_template_kwargs: { enable_thinking: false } }, '</think>', 'none'],
    [{ chat_template_kwargs: { thinking: true, reasoning_effort: 'low' } }, '<think>', 'low'],
    [{ think: false }, '</think>', 'none'],
    [{ enable_thinking: false, thinking: true }, '<think>', 'high'],
    [{ output_config: { effort: 'max' } }, '<think>', 'max'],
    [{ reasoning: { effort: 'none' } }, '</think>', 'none'],
    [{ effort: 'whatever', thinking_mode: 'chat', context: 5, drop_thinking: 'x' }, '<think>', 'high'],
  ] as const)('%j: the prompt ends with %s, and the effort is %s', async (fields, end, effort) => {
    const { reasoning_effort: said } = await ask({ messages: user('Hi'), ...fields });
    expect(said).toBe(effort);
    expect(promptText()).toMatch(new RegExp(`${end}$`));
  });

  it('a message that is to be continued', async () => {
    const messages = [...user('Capital?'), { role: 'assistant', content: 'The capital is', prefix: true }];
    says(' Paris.');
    const { choices } = await ask({ messages, thinking: false });
    expect(promptText()).toMatch(/<\/think>The capital is$/);
    expect(choices[0]!.message.content).toBe(' Paris.');
    const flagged = messages.map(({ role, content }) => ({ role, content }));
    await ask({ messages: flagged, continue_final_message: true, thinking: false });
    expect(promptText(1)).toBe(promptText());
    says('\n\nand Lyon.'); // newlines at the start belong to what has begun
    expect((await ask({ messages, thinking: false })).choices[0]!.message.content).toBe('\n\nand Lyon.');
  });

  it('no turn of the assistant where none is wanted', async () => {
    await ask({ messages: user('Hi'), add_generation_prompt: false });
    expect(promptText()).toMatch(/<｜User｜>Hi$/);
  });

  it("the assistant's turn after whatever comes last", async () => {
    await ask({ messages: [{ role: 'system', content: 'Be brief.' }] });
    await ask({ messages: [...user('Hi'), { role: 'assistant', content: 'Hello' }], thinking: false });
    expect(promptText(0)).toMatch(/Be brief\.<｜Assistant｜><think>$/);
    expect(promptText(1)).toMatch(/Hello<｜end▁of▁sentence｜><｜Assistant｜><\/think>$/);
  });

  it.each([[[{ type: 'text', text: 'The capi' }]], ['The capi']])(
    'an answer that went on with %j by the ids that it was sampled with, when it comes back',
    async (content) => {
      says('tal is Paris.');
      const begun = user(`Capital of ${JSON.stringify(content)}?`);
      const messages = [...begun, { role: 'assistant', content, prefix: true }];
      await ask({ messages, thinking: false });
      const sampled = [...Array.from(engine.requests[0]!.tokenIds!), ...idsOf('tal is Paris.')];
      const whole = { role: 'assistant', content: 'The capital is Paris.' };
      await ask({ messages: [...begun, whole, ...user('And of Italy?')], thinking: false });
      expect(Array.from(engine.requests[1]!.tokenIds!).slice(0, sampled.length)).toEqual(sampled);
    },
  );

  it('history as clients cut it: without reasoning, without the result of a call', async () => {
    const call = { id: 'a', type: 'function', function: { name: 'get_weather', arguments: '{"city": "Paris"}' } };
    const messages = [...user('Weather?'), { role: 'assistant', content: null, tool_calls: [call] }, ...user('Well?')];
    await ask({ messages, tools: [WEATHER] });
    expect(promptText()).toContain('<think></think>\n\n<｜DSML｜tool_calls>');
  });

  it('tools whose names are those of prototypes', async () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'];
    const tools = names.map((name) => ({
      type: 'function',
      function: { name, parameters: { type: 'object', properties: {} } },
    }));
    for (const name of names) {
      says(`</think>${block(call(name, text('__proto__', 'x')))}`);
      const { message } = (await ask({ messages: user('Hi'), tools })).choices[0]!;
      expect(message.tool_calls![0]!.function).toEqual({ name, arguments: '{"__proto__": "x"}' });
    }
  });

  it('fields that nobody knows are accepted and named once', async () => {
    for (let i = 0; i < 2; i++) await ask({ messages: user('Hi'), user: 'me', foo: 1, __bar: { a: 2 }, store: true });
    expect(events.filter(({ event }) => event === 'unknown_fields')).toEqual([
      { event: 'unknown_fields', fields: ['foo', '__bar'] },
    ]);
    expect(JSON.stringify(events)).not.toContain('Hello');
  });
});

describe('reasoning that is cut, and calls that are wanted', () => {
  const opened = '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_weather">\n';

  it('a budget closes the reasoning, and the answer goes on after it', async () => {
    engine.script = {
      says: ({ tokenIds }) => (Array.from(tokenIds!).at(-1) === 6 ? 'So: 4.' : 'One two three four five six seven'),
    };
    const budget = idsOf('One two three').length;
    const { choices, usage } = await ask({ messages: user('Hi'), thinking_budget: budget });
    expect(choices[0]!.message).toMatchObject({ reasoning: 'One two three', content: 'So: 4.' });
    expect(usage!.completion_tokens_details.reasoning_tokens).toBe(budget);
    expect(engine.requests.map(({ maxTokens }) => maxTokens)[0]).toBe(budget);
    expect(Array.from(engine.requests[1]!.tokenIds!).slice(-budget - 1)).toEqual([...idsOf('One two three'), 6]);
    const { data } = await stream({ messages: user('Hi'), thinking_budget: budget });
    expect(data.map(({ choices: [c] }) => c!.delta.content ?? '').join('')).toBe('So: 4.');
  });

  it('a budget that is not reached changes nothing, and 0 means none', async () => {
    engine.script = { says: ({ tokenIds }) => (Array.from(tokenIds!).at(-1) === 6 ? 'So: 4.' : 'One.</think>never') };
    const { choices } = await ask({ messages: user('Hi'), thinking_token_budget: 50 });
    expect(choices[0]!.message).toMatchObject({ reasoning: 'One.', content: 'So: 4.' });
    const none = await ask({ messages: user('Hi'), thinking_budget: 0 });
    expect(none.choices[0]!.message).toMatchObject({ content: 'So: 4.' });
    expect(none.choices[0]!.message.reasoning).toBeUndefined();
  });

  it.each([['required'], [{ type: 'function', function: { name: 'get_weather' } }]])(
    '%j without thinking opens the call',
    async (choice) => {
      says(`${text('city', 'Paris')}\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>`);
      const body = { messages: user('Hi'), tools: [WEATHER], tool_choice: choice, thinking: false };
      const { message, finish_reason: finish } = (await ask(body)).choices[0]!;
      expect(message.tool_calls![0]!.function).toEqual({ name: 'get_weather', arguments: '{"city": "Paris"}' });
      expect([finish, promptText().endsWith(opened)]).toEqual(['tool_calls', true]);
      const { data } = await stream(body);
      expect(data.flatMap(({ choices: [c] }) => c!.delta.tool_calls ?? [])[0]!.function.name).toBe('get_weather');
    },
  );

  it('with thinking the call is opened after the reasoning', async () => {
    engine.script = {
      says: ({ tokenIds }) =>
        engine.tokenizer.decode(Array.from(tokenIds!)).endsWith(opened)
          ? `${text('city', 'Paris')}\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>`
          : 'I would rather not.</think>No.',
    };
    const { message, finish_reason: finish } = (
      await ask({ messages: user('Hi'), tools: [WEATHER], tool_choice: 'required' })
    ).choices[0]!;
    expect(message).toMatchObject({ content: null, reasoning: 'I would rather not.' });
    expect([message.tool_calls!.length, finish]).toEqual([1, 'tool_calls']);
  });
});

describe('other routes', () => {
  it('completions: text, echo, several prompts, a stream', async () => {
    const complete = async (body: object): Promise<Chunk> =>
      (await (await send(body, '/v1/completions')).json()) as Chunk;
    says(' Paris.');
    expect((await complete({ prompt: 'The capital is' })).choices[0]).toMatchObject({
      text: ' Paris.',
      finish_reason: 'stop',
    });
    expect(Array.from(engine.requests[0]!.tokenIds!)[0]).toBe(0);
    expect(engine.requests[0]!.maxTokens).toBe(16);
    expect((await complete({ prompt: 'The capital is', echo: true })).choices[0]!.text).toBe('The capital is Paris.');
    const several = await complete({ prompt: ['a', 'b'], n: 2 });
    expect(several.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    await complete({ prompt: [[5, 6], [7]] });
    expect(engine.requests.slice(-2).map(({ tokenIds }) => Array.from(tokenIds!))).toEqual([[5, 6], [7]]);
    const { data, done } = await readEvents(
      await send({ prompt: 'x', stream: true, stream_options: { include_usage: true } }, '/v1/completions'),
    );
    expect(done).toBe(true);
    expect(
      data
        .slice(0, -1)
        .map(({ choices }) => choices[0]!.text)
        .join(''),
    ).toBe(' Paris.');
    expect(data.at(-1)!.usage!.completion_tokens).toBe(idsOf(' Paris.').length + 1);
  });

  it('tokenize and detokenize, in the shapes of vLLM and llama.cpp', async () => {
    const post = async (path: string, body: object) =>
      (await (await send(body, path)).json()) as Record<string, unknown>;
    const ids = idsOf('Hello there');
    expect(await post('/tokenize', { prompt: 'Hello there' })).toMatchObject({
      count: ids.length + 1,
      max_model_len: 2048,
      tokens: [0, ...ids],
    });
    expect(
      await post('/tokenize', { prompt: 'Hello there', add_special_tokens: false, return_token_strs: true }),
    ).toMatchObject({
      tokens: ids,
      token_strs: ['Hello', ' there'],
    });
    expect(await post('/tokenize', { content: 'Hello there' })).toMatchObject({ tokens: ids });
    expect(await post('/tokenize', { content: 'Hello there', add_special: true })).toMatchObject({ tokens: [0, ...ids] }); // prettier-ignore
    expect(await post('/tokenize', { content: 'Hello there', with_pieces: true })).toMatchObject({
      tokens: [{ id: ids[0], piece: 'Hello' }, { piece: ' there' }],
    });
    const { tokens } = await post('/tokenize', { messages: user('Hi') });
    expect(await post('/detokenize', { tokens })).toMatchObject({
      prompt: expect.stringMatching(/<｜User｜>Hi<｜Assistant｜><think>$/) as string,
    });
    expect(await post('/detokenize', { tokens: ids })).toEqual({ prompt: 'Hello there', content: 'Hello there' });
  });
});
