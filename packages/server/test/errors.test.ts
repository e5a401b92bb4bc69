/** Requests that cannot be served, by status, type and code (docs/serving.md), without a socket. */
import { ContextLengthError, EngineClosedError, QueueFullError } from '@megamoe/model';
import { readEncoding } from '@megamoe/chat';
import { seeded } from '@megamoe/testkit';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createServer, type MegamoeServer, type ServerOptions } from '../src/index';
import { FakeEngine } from './fake-engine';
import { TINY, user, WEATHER, type Chunk } from './support';

let engine: FakeEngine;
let server: MegamoeServer;

async function make(options: Partial<ServerOptions> = {}): Promise<MegamoeServer> {
  const made = createServer({
    open: async () => ({ engine, encoding: await readEncoding(TINY), names: ['tiny', 'other'] }),
    ...options,
  });
  await made.load();
  return made;
}

beforeAll(async () => {
  engine = new FakeEngine();
  server = await make();
});
beforeEach(() => {
  engine.script = {};
  engine.requests.length = 0;
});

interface Asked {
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly on?: MegamoeServer;
}

async function ask(
  body: unknown,
  { path = '/v1/chat/completions', method = 'POST', headers, on = server }: Asked = {},
) {
  const response = await on.fetch(
    new Request(`http://localhost${path}`, {
      method,
      headers: { 'content-type': 'application/json', ...headers },
      ...(body === undefined
        ? {}
        : { body: typeof body === 'string' || body instanceof Uint8Array ? (body as string) : JSON.stringify(body) }),
    }),
  );
  const text = await response.text();
  const json = text === '' ? undefined : (JSON.parse(text) as Chunk);
  return { status: response.status, headers: response.headers, json: json!, error: json?.error };
}

const base = { messages: user('Hi') };
const deep = (n: number): string => '['.repeat(n) + ']'.repeat(n);

/** Requests and the field that each error names. */
const BAD: readonly (readonly [string, unknown, string | null])[] = [
  ['no JSON', '{"messages": [', null],
  ['nothing', '', null],
  ['a list', '[]', null],
  ['NaN', '{"messages": NaN}', null],
  ['an unpaired bracket', '{"messages": ]}', null],
  ['a nest', `{"messages": [], "x": ${deep(5000)}}`, null],
  ['bytes that are no UTF-8', new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]), null],
  ['no messages', {}, 'messages'],
  ['messages of another kind', { messages: 'Hi' }, 'messages'],
  ['no message', { messages: [] }, 'messages'],
  ['null for a message', { messages: [null] }, 'messages[0]'],
  ['an unknown role', { messages: [{ role: 'robot', content: 'x' }] }, 'messages[0].role'],
  ['a number for content', { messages: [{ role: 'user', content: 5 }] }, 'messages[0].content'],
  ['a user without content', { messages: [{ role: 'user' }] }, 'messages[0].content'],
  [
    'an image',
    { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] },
    'messages[0].content[0]',
  ],
  ['an assistant who says nothing', { messages: [...user('a'), { role: 'assistant', content: null }] }, 'messages[1]'],
  ['a result without a call', { messages: [...user('a'), { role: 'tool', content: '5' }] }, 'messages[1]'],
  [
    'a result of another call',
    {
      messages: [
        ...user('a'),
        { role: 'assistant', tool_calls: [{ id: 'a', function: { name: 'f', arguments: '{}' } }] },
        { role: 'tool', tool_call_id: 'b', content: '5' },
      ],
    },
    'messages[2]',
  ],
  [
    'a call without a name',
    { messages: [...user('a'), { role: 'assistant', tool_calls: [{ function: {} }] }] },
    'messages[1].tool_calls[0].function.name',
  ],
  [
    'a call without arguments',
    { messages: [...user('a'), { role: 'assistant', tool_calls: [{ function: { name: 'f' } }] }] },
    'messages[1].tool_calls[0].function.arguments',
  ],
  ['a model that is a number', { ...base, model: 5 }, 'model'],
  ['temperature', { ...base, temperature: 2.1 }, 'temperature'],
  ['temperature as text', { ...base, temperature: '1' }, 'temperature'],
  ['top_p 0', { ...base, top_p: 0 }, 'top_p'],
  ['top_p above 1', { ...base, top_p: 1.5 }, 'top_p'],
  ['top_k', { ...base, top_k: 1.5 }, 'top_k'],
  ['min_p', { ...base, min_p: -0.1 }, 'min_p'],
  ['presence_penalty', { ...base, presence_penalty: 3 }, 'presence_penalty'],
  ['frequency_penalty', { ...base, frequency_penalty: -3 }, 'frequency_penalty'],
  ['repetition_penalty', { ...base, repetition_penalty: 0 }, 'repetition_penalty'],
  ['max_tokens 0', { ...base, max_tokens: 0 }, 'max_tokens'],
  ['max_tokens negative', { ...base, max_tokens: -5 }, 'max_tokens'],
  ['max_completion_tokens', { ...base, max_completion_tokens: 1.5 }, 'max_completion_tokens'],
  ['min_tokens', { ...base, min_tokens: -1 }, 'min_tokens'],
  ['min_tokens above max_tokens', { ...base, min_tokens: 9, max_tokens: 8 }, 'min_tokens'],
  [
    'a part without its text',
    { messages: [{ role: 'user', content: [{ type: 'text' }] }] },
    'messages[0].content[0].text',
  ],
  ['a part whose text is none', { messages: user('Hi').concat({ role: 'tool', content: [{ type: 'text', text: 5 }] } as never) }, 'messages[1].content[0].text'], // prettier-ignore
  ['n 0', { ...base, n: 0 }, 'n'],
  ['n 1000', { ...base, n: 1000 }, 'n'],
  ['a seed of 2^63', '{"messages": [{"role": "user", "content": "a"}], "seed": 9223372036854775808}', 'seed'],
  ['a seed with a fraction', { ...base, seed: 1.5 }, 'seed'],
  ['logit_bias of no token', { ...base, logit_bias: { '4096': 1 } }, 'logit_bias'],
  ['logit_bias of a name', { ...base, logit_bias: { hello: 1 } }, 'logit_bias'],
  [
    'logit_bias of __proto__',
    '{"messages": [{"role": "user", "content": "Hi"}], "logit_bias": {"__proto__": 1}}',
    'logit_bias',
  ],
  ['logit_bias of a token spelled twice', { ...base, logit_bias: { '7': 1, '07': 2 } }, 'logit_bias'],
  ['logit_bias of a list', { ...base, logit_bias: [1] }, 'logit_bias'],
  ['logit_bias too large', { ...base, logit_bias: { '5': 101 } }, 'logit_bias.5'],
  ['an empty stop', { ...base, stop: '' }, 'stop'],
  ['17 stops', { ...base, stop: Array.from({ length: 17 }, (_, i) => `s${i}`) }, 'stop'],
  ['a number for stop', { ...base, stop: [5] }, 'stop'],
  ['half a surrogate pair for stop', '{"messages": [{"role": "user", "content": "a"}], "stop": "\\ud800"}', 'stop'],
  ['stop_token_ids', { ...base, stop_token_ids: [99999] }, 'stop_token_ids'],
  ['top_logprobs alone', { ...base, top_logprobs: 2 }, 'top_logprobs'],
  ['top_logprobs 21', { ...base, logprobs: true, top_logprobs: 21 }, 'top_logprobs'],
  ['logprobs as a number', { ...base, logprobs: 1 }, 'logprobs'],
  ['stream_options without stream', { ...base, stream_options: { include_usage: true } }, 'stream_options'],
  ['stream as text', { ...base, stream: 'yes' }, 'stream'],
  ['an effort', { ...base, reasoning_effort: 'enormous' }, 'reasoning_effort'],
  ['thinking', { ...base, thinking: { type: 'perhaps' } }, 'thinking.type'],
  ['a tool of another type', { ...base, tools: [{ type: 'retrieval' }] }, 'tools[0].type'],
  [
    'a tool with a blank in its name',
    { ...base, tools: [{ type: 'function', function: { name: 'a b' } }] },
    'tools[0].function.name',
  ],
  [
    'a tool with a long name',
    { ...base, tools: [{ type: 'function', function: { name: 'a'.repeat(129) } }] },
    'tools[0].function.name',
  ],
  ['two tools of one name', { ...base, tools: [WEATHER, WEATHER] }, 'tools[1].function.name'],
  [
    'parameters of type string',
    { ...base, tools: [{ type: 'function', function: { name: 'a', parameters: { type: 'string' } } }] },
    'tools[0].function.parameters',
  ],
  ['tool_choice without tools', { ...base, tool_choice: 'required' }, 'tool_choice'],
  [
    'tool_choice of another tool',
    { ...base, tools: [WEATHER], tool_choice: { type: 'function', function: { name: 'x' } } },
    'tool_choice',
  ],
  ['tool_choice of another word', { ...base, tools: [WEATHER], tool_choice: 'perhaps' }, 'tool_choice'],
  ['functions', { ...base, functions: [] }, 'functions'],
  ['a response format', { ...base, response_format: { type: 'xml' } }, 'response_format.type'],
  [
    'a schema of another kind',
    { ...base, response_format: { type: 'json_schema', json_schema: { schema: 5 } } },
    'response_format.json_schema.schema',
  ],
  ['prefix of a user', { messages: [{ role: 'user', content: 'a', prefix: true }] }, 'prefix'],
  ['continue_final_message of a user', { ...base, continue_final_message: true }, 'continue_final_message'],
  ['cache_salt', { ...base, cache_salt: 5 }, 'cache_salt'],
];

describe('400', () => {
  it.each(BAD)('%s', async (_, body, param) => {
    const { status, error } = await ask(body);
    expect(error).toMatchObject({ type: 'invalid_request_error', code: 'invalid_value', param });
    expect(status).toBe(400);
    expect(error!.message.length).toBeGreaterThan(10);
    expect(engine.requests).toEqual([]);
  });

  it('a prompt that is too long says both numbers, before it is encoded and after', async () => {
    for (const words of [1500, 2_000_000]) {
      const { status, error } = await ask({ messages: user('word '.repeat(words)) });
      expect(status).toBe(400);
      expect(error).toMatchObject({ code: 'context_length_exceeded', n_ctx: 2048 });
      expect((error as unknown as { n_prompt_tokens: number }).n_prompt_tokens).toBeGreaterThan(2047);
    }
    engine.script = { refuse: new ContextLengthError('Engine.submit', 5000, 2048) };
    expect((await ask(base)).error).toMatchObject({ code: 'context_length_exceeded', n_prompt_tokens: 5000 });
  });

  it('says what was expected and what came', async () => {
    for (const [fields, message] of [
      [{ temperature: '1' }, '"temperature": Invalid input: expected number, received string.'],
      [{ max_tokens: 0 }, '"max_tokens": Too small: expected number to be >=1.'],
      [{ reasoning_effort: 'huge' }, '"reasoning_effort" must be one of none, minimal, low, medium, high, xhigh, max, ultra, got huge'],
      [{ messages: [...user('a'), { role: 'assistant', tool_calls: [{ function: { name: 'f' } }] }] }, '"messages[1].tool_calls[0].function.arguments" is missing; it is JSON text, "{}" for none'],
    ] as const) expect((await ask({ ...base, ...fields })).error!.message).toBe(message); // prettier-ignore
  });

  it('what completions cannot do', async () => {
    const path = '/v1/completions';
    for (const [body, param] of [
      [{ prompt: 'a', suffix: 'b' }, 'suffix'],
      [{ prompt: 'a', best_of: 3 }, 'best_of'],
      [{ prompt: 'a', max_tokens: 0 }, 'max_tokens'],
      [{ prompt: 'a', logprobs: 21 }, 'logprobs'],
      [{ prompt: [] }, 'prompt'],
      [{ prompt: [1.5] }, 'prompt'],
      [{ prompt: [99999] }, 'prompt'],
      [{}, 'prompt'],
    ] as const) {
      expect((await ask(body, { path })).error).toMatchObject({ type: 'invalid_request_error', param });
    }
  });

  it('what tokenize and detokenize cannot do', async () => {
    expect((await ask({}, { path: '/tokenize' })).status).toBe(400);
    expect((await ask({ prompt: 'a', content: 'b' }, { path: '/tokenize' })).status).toBe(400);
    expect((await ask({ tokens: [5000] }, { path: '/detokenize' })).error).toMatchObject({ param: 'tokens' });
    expect((await ask({ tokens: 'x' }, { path: '/detokenize' })).status).toBe(400);
  });
});

describe('other statuses', () => {
  it('404 for a model and for a route, 405 with the methods there are', async () => {
    const model = await ask({ ...base, model: 'gpt-4' });
    expect([model.status, model.error]).toMatchObject([404, { type: 'not_found_error', code: 'model_not_found' }]);
    for (const name of ['tiny', 'other', 'default']) expect((await ask({ ...base, model: name })).status).toBe(200);
    const one = await ask(undefined, { method: 'GET', path: '/v1/models/nobody%2Fnothing' });
    expect([one.status, one.error]).toMatchObject([404, { code: 'model_not_found' }]);
    expect((await ask(undefined, { method: 'GET', path: '/v1/models/%E0%A4%A' })).status).toBe(404);
    const route = await ask(undefined, { method: 'GET', path: '/v2/anything' });
    expect([route.status, route.error]).toMatchObject([404, { type: 'not_found_error', code: null }]);
    const method = await ask(undefined, { method: 'GET' });
    expect([method.status, method.headers.get('allow')]).toEqual([405, 'POST']);
    expect(method.error).toMatchObject({ type: 'invalid_request_error' });
    expect((await ask(base, { path: '/health' })).status).toBe(405);
    expect((await ask(base, { method: 'DELETE' })).status).toBe(405);
  });

  it('415 for what is not JSON by its content type, as a form of a page sends it', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', '']) {
      const { status, error } = await ask(base, { headers: { 'content-type': type } });
      expect([status, error]).toMatchObject([415, { type: 'invalid_request_error' }]);
    }
    expect((await ask(base, { headers: { 'content-type': 'application/json; charset=utf-8' } })).status).toBe(200);
    const zipped = await ask(base, { headers: { 'content-encoding': 'gzip' } });
    expect([zipped.status, zipped.error]).toMatchObject([415, { code: 'unsupported_media_type' }]);
    expect(zipped.error!.message).toMatch(/compressed.*"gzip"/);
    expect((await ask(base, { headers: { 'content-encoding': 'identity' } })).status).toBe(200);
  });

  it('413 for a body that is too large', async () => {
    const on = await make({ maxBodyBytes: 1000 });
    const { status, error } = await ask({ messages: user('x'.repeat(2000)) }, { on });
    expect([status, error]).toMatchObject([413, { type: 'invalid_request_error', code: 'request_too_large' }]);
  });

  it('401 without a key of those that are known, for all routes but two', async () => {
    const on = await make({ apiKeys: ['sk-one', 'sk-two'] });
    for (const headers of [{}, { authorization: 'Bearer nope' }, { authorization: 'sk-one' }, { 'x-api-key': '' }]) {
      const { status, error, headers: got } = await ask(base, { on, headers: headers as Record<string, string> });
      expect([status, error]).toMatchObject([401, { type: 'authentication_error', code: 'invalid_api_key' }]);
      expect(got.get('www-authenticate')).toBe('Bearer');
    }
    for (const headers of [
      { authorization: 'Bearer sk-one' },
      { authorization: 'bearer sk-two' },
      { 'x-api-key': 'sk-two' },
    ]) {
      expect((await ask(base, { on, headers: headers as Record<string, string> })).status).toBe(200);
    }
    const get = async (path: string) => (await ask(undefined, { on, path, method: 'GET' })).status;
    expect([
      await get('/health'),
      await get('/'),
      await get('/metrics'),
      await get('/v1/models'),
      await get('/x'),
    ]).toEqual([200, 200, 401, 401, 401]);
  });

  it('KV is shared by those who bring the same key, however they bring it', async () => {
    const on = await make({ apiKeys: ['sk-one', 'sk-two'] });
    for (const headers of [{ authorization: 'Bearer sk-one' }, { 'x-api-key': 'sk-one' }, { 'x-api-key': 'sk-two' }]) {
      expect((await ask(base, { on, headers: headers as Record<string, string> })).status).toBe(200);
    }
    const keys = engine.requests.map(({ cacheKey }) => cacheKey!);
    expect([keys[1] === keys[0], keys[2] === keys[0]]).toEqual([true, false]);
    expect(keys.join()).not.toContain('sk-');
  });

  it('429 while the queue is full, before anything is encoded', async () => {
    engine.script = { refuse: new QueueFullError(10, 10) };
    for (const body of [base, { ...base, stream: true }, 'no JSON at all']) {
      const { status, error, headers } = await ask(body);
      expect([status, error]).toMatchObject([429, { type: 'rate_limit_error', code: 'queue_full' }]);
      expect(headers.get('retry-after')).toBe('1');
      expect(headers.get('content-type')).toBe('application/json');
    }
  });

  it('503 while the model is loaded, and when the server stops', async () => {
    const on = createServer({ open: () => new Promise(() => undefined) });
    void on.load();
    for (const path of ['/health', '/v1/models']) {
      const { status, error, headers } = await ask(undefined, { on, path, method: 'GET' });
      expect([status, error]).toMatchObject([503, { type: 'unavailable_error', code: 'loading' }]);
      expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
    }
    expect((await ask(base, { on })).error).toMatchObject({ code: 'loading' });
    engine.script = { refuse: new EngineClosedError() };
    expect([(await ask(base)).status, (await ask(base)).error]).toMatchObject([503, { code: 'stopping' }]);
  });

  it('500 for an engine that fails, whole or in the stream', async () => {
    engine.script = { failAfter: { tokens: 1, error: new RangeError('logits are NaN') } };
    const { status, error } = await ask(base);
    expect([status, error]).toMatchObject([500, { type: 'server_error', code: 'internal_error' }]);
    const response = await server.fetch(
      new Request('http://localhost/v1/chat/completions', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...base, stream: true }),
      }),
    );
    expect(response.status).toBe(200);
    const events = (await response.text()).trimEnd().split('\n\n');
    expect(events.at(-1)).toBe('data: [DONE]');
    expect(JSON.parse(events.at(-2)!.slice(6))).toMatchObject({
      error: { type: 'server_error', code: 'internal_error' },
    });
  });

  it('an id of the request is given back, or made', async () => {
    const own = await ask(base, { headers: { 'x-request-id': 'my-id.7' } });
    expect(own.headers.get('x-request-id')).toBe('my-id.7');
    for (const bad of ['', 'a b', 'x'.repeat(200)]) {
      const { headers } = await ask('{', { headers: { 'x-request-id': bad } });
      expect(headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/);
    }
  });
});

describe('any request', () => {
  const full = {
    model: 'tiny',
    messages: [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: [{ type: 'text', text: 'Weather?' }] },
      {
        role: 'assistant',
        content: null,
        reasoning_content: 'I look.',
        tool_calls: [{ id: 'a', type: 'function', function: { name: 'get_weather', arguments: '{"city": "Paris"}' } }],
      },
      { role: 'tool', tool_call_id: 'a', content: 'sunny' },
    ],
    tools: [WEATHER],
    tool_choice: 'auto',
    response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'object' } } },
    thinking: { type: 'enabled' },
    reasoning_effort: 'low',
    chat_template_kwargs: { thinking: true },
    reasoning: { effort: 'low' },
    output_config: { effort: 'low' },
    stop: ['x'],
    logit_bias: { '5': 1 },
    seed: 1,
    n: 1,
    logprobs: true,
    top_logprobs: 1,
    max_tokens: 5,
    thinking_budget: 5,
    stream_options: { include_usage: true },
    stream: true,
    prompt: 'a',
    echo: true,
    tokens: [1],
    continue_final_message: false,
    add_generation_prompt: true,
    cache_salt: 'a',
  };
  const JUNK: readonly unknown[] = [
    ...[null, true, false, 0, -1, 1.5, 1e308, 2 ** 53, '', 'x', '\u0000', '__proto__', '<｜User｜>', '日本'],
    ...[[], [null], [[]], {}, { type: 'text' }, { type: 5 }, { __proto__x: 1 }, { constructor: {} }, ['a', 1]],
    { type: 'function', function: {} },
  ];

  /** Puts junk at a random place, or takes what stands there away. */
  function spoil(value: unknown, random: ReturnType<typeof seeded>): unknown {
    if (typeof value !== 'object' || value === null || random.next() < 0.25) return JUNK[random.int(JUNK.length)];
    const copy = structuredClone(value) as Record<string, unknown>;
    const keys = Object.keys(copy);
    const key = keys[random.int(keys.length)];
    if (key === undefined) return JUNK[random.int(JUNK.length)];
    if (random.next() < 0.1) Reflect.deleteProperty(copy, key);
    else copy[key] = spoil(copy[key], random);
    return copy;
  }

  it.each(['/v1/chat/completions', '/v1/completions', '/tokenize', '/detokenize'])(
    'to %s is served or refused for what is wrong with it, whatever stands where',
    async (path) => {
      const random = seeded(path.length);
      engine.script = { says: () => 'Hm.</think>Hello.' };
      for (let i = 0; i < 250; i++) {
        const { stream, stream_options, ...rest } = full;
        let body: unknown = path === '/tokenize' ? { messages: rest.messages, tools: rest.tools } : { ...rest, ...(random.next() < 0.2 ? { stream, stream_options } : {}) }; // prettier-ignore
        for (let k = random.int(3); k >= 0; k--) body = spoil(body, random);
        const response = await server.fetch(
          new Request(`http://localhost${path}`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify(body),
          }),
        );
        const text = await response.text();
        expect([200, 400, 404], `${JSON.stringify(body)} -> ${text}`).toContain(response.status);
        expect(text, JSON.stringify(body)).not.toContain('internal_error');
        if (response.status !== 200) expect((JSON.parse(text) as Chunk).error!.message).not.toBe('');
      }
    },
  );
});

describe('options', () => {
  const open = () => Promise.reject(new Error('never'));
  it.each([
    [{ host: '0.0.0.0' }, /no API key/],
    [{ host: '192.168.1.5' }, /no API key/],
    [{ port: 70000 }, /"port"/],
    [{ apiKeys: [''] }, /"apiKeys"/],
    [{ apiKeys: ['a b'] }, /"apiKeys"/],
    [{ cors: ['example.com'] }, /"cors"/],
    [{ maxBodyBytes: 0 }, /"maxBodyBytes"/],
    [{ thinking: 'yes' as unknown as boolean }, /"thinking"/],
  ])('%o is refused', (options, message) => {
    expect(() => createServer({ open, ...options })).toThrow(message);
  });
  it('a public address is fine with a key, or when it is meant', () => {
    expect(() => createServer({ open, host: '0.0.0.0', apiKeys: ['k'] })).not.toThrow();
    expect(() => createServer({ open, host: '0.0.0.0', allowPublic: true })).not.toThrow();
  });
});
