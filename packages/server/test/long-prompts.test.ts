/** Long texts are encoded in a thread of their own: others are served meanwhile, and what comes of it is the same. */
import { encodeConversation, readEncoding, type ConversationRequest } from '@megamoe/chat';
import { loadTokenizer } from '@megamoe/checkpoint';
import { bundleWorker, type BundledWorker } from '@megamoe/testkit';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { TokenizerThread } from '../src/tokens/thread';
import { FakeEngine } from './fake-engine';
import { serveEngine, TINY, user, WEATHER, type Chunk, type Running } from './support';

const tokenizer = loadTokenizer(TINY);
let worker: BundledWorker;
let running: Running;
let engine: FakeEngine;

beforeAll(async () => {
  worker = await bundleWorker('src/tokenizer-worker.ts');
});
afterAll(() => worker.remove());
afterEach(() => running.server.close({ timeoutMs: 100 }));

async function start(script = {}): Promise<void> {
  engine = new FakeEngine({ maxTokens: 1 << 20, ...script });
  running = await serveEngine(engine, { thinking: false }, worker.url);
}

const CHAT = '/v1/chat/completions';
const words = (n: number): string => ' word'.repeat(n);

it('/health answers while a prompt of a megabyte is encoded', async () => {
  await start();
  const asked: Promise<Response>[] = [];
  let done = false;
  const started = performance.now();
  const answer = running.post(CHAT, { messages: user(words(200_000)) }).finally(() => (done = true));
  const times: number[] = [];
  while (!done) {
    const at = performance.now();
    asked.push(fetch(`${running.url}/health`));
    await asked.at(-1);
    times.push(performance.now() - at);
    await sleep(2);
  }
  const ms = performance.now() - started;
  const response = (await (await answer).json()) as Chunk;
  expect(response.usage!.prompt_tokens).toBeGreaterThan(200_000);
  times.sort((a, b) => a - b);
  // In the thread that answers, one of them would have waited for nearly all of it.
  expect(times.at(-1)!).toBeLessThan(ms / 4);
  expect(times.length).toBeGreaterThan(20);
});

it('the ids are those of the encoder, in chats, completions and /tokenize', async () => {
  await start();
  const encoding = (await readEncoding(TINY))!;
  const messages = [
    { role: 'system', content: `Be brief.${words(1000)}` },
    { role: 'user', content: `<think>${words(700)} 😀 <｜User｜>` },
    { role: 'assistant', content: null, tool_calls: [{ id: 'a', type: 'function', function: { name: 'get_weather', arguments: `{"city": "${words(300)}"}` } }] }, // prettier-ignore
    { role: 'tool', tool_call_id: 'a', content: words(2000) },
    { role: 'user', content: words(700) },
  ];
  const body = { messages, tools: [WEATHER] };
  const options = { tokenizer, encoding, thinking: false, generationPrompt: 'always' } as const;
  const { tokenIds } = encodeConversation(body as unknown as ConversationRequest, options);
  for (let i = 0; i < 2; i++) expect((await running.post(CHAT, body)).status).toBe(200); // the second finds texts that are kept
  expect(engine.requests.map((r) => Array.from(r.tokenIds!))).toEqual([tokenIds, tokenIds]);

  const prompts = [`<｜User｜>${words(3000)}`, 'short', words(3000)];
  expect((await running.post('/v1/completions', { prompt: prompts, max_tokens: 1 })).status).toBe(200);
  expect(engine.requests.slice(2).map((r) => Array.from(r.tokenIds!))).toEqual(
    prompts.map((text) => [0, ...tokenizer.encode(text)]),
  );

  const asked = { messages, tools: [WEATHER], with_pieces: true };
  const tokenized = (await (await running.post('/tokenize', asked)).json()) as {
    tokens: { id: number; piece: string }[];
  };
  expect(tokenized.tokens.map(({ id }) => id)).toEqual(tokenIds);
  const plain = (await (await running.post('/tokenize', { content: prompts[0], parse_special: false })).json()) as { tokens: number[] }; // prettier-ignore
  expect(plain.tokens).toEqual(tokenizer.encode(prompts[0]!, { parseSpecial: false }));
  const text = (await (await running.post('/detokenize', { tokens: plain.tokens })).json()) as { prompt: string };
  expect(text.prompt).toBe(prompts[0]);
  expect(running.events.filter(({ event }) => event === 'tokenizer_failed')).toEqual([]);
});

it('who leaves before it is their turn is not encoded, and too many are refused', async () => {
  await start();
  const first = running.post(CHAT, { messages: user(words(100_000)) });
  await sleep(50);
  const abort = new AbortController();
  const gone = running.post(CHAT, { messages: user(words(5000)) }, {}, abort.signal).catch(() => undefined);
  // Ten may wait, as many as in the engine's own queue.
  const others = Array.from({ length: 12 }, (_, i) => running.post(CHAT, { messages: user(`${i}${words(2000)}`) }));
  const refused = await Promise.race(others);
  expect(refused.status).toBe(429);
  expect(((await refused.json()) as Chunk).error!.code).toBe('queue_full');
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  expect((await running.post(CHAT, { messages: user('Hi') })).status).toBe(200); // a short one does not wait
  abort.abort();
  await gone;
  expect((await first).status).toBe(200);
  const statuses = (await Promise.all(others)).map(({ status }) => status);
  expect(statuses.filter((status) => status === 200)).toHaveLength(9);
  expect(engine.requests).toHaveLength(1 + 1 + 9);
  expect(running.events.filter(({ status }) => status === 499)).toHaveLength(1);
});

it('a request that cannot be is refused before its long text is encoded', async () => {
  await start();
  const at = performance.now();
  const long = user(words(200_000));
  const bad = [
    { messages: [...long, { role: 'tool', tool_call_id: 'x', content: 'a' }] },
    { messages: long, tools: [WEATHER], tool_choice: { type: 'function', function: { name: 'nobody' } } },
    { messages: long, response_format: { type: 'xml' } },
  ];
  for (const body of bad) expect((await running.post(CHAT, body)).status).toBe(400);
  expect(performance.now() - at).toBeLessThan(2000); // encoding one takes that long
});

it('a thread that dies over an order fails that one alone, and one that never comes up is done without', async () => {
  await start();
  const long = words(2000);
  const limits = { maxOrders: 10, maxCharacters: 1e6 };
  const texts = [{ text: long, parseSpecial: false }];
  const events: string[] = [];
  const log = (_: string, event: string) => void events.push(event);
  const code = (text: string): URL => new URL(`data:text/javascript,${encodeURIComponent(text)}`);
  const dies = code(
    "import { parentPort as p } from 'node:worker_threads'; p.postMessage({ ready: true }); p.on('message', ({ encode: [{ text }] }) => text.startsWith('x') ? process.exit(3) : p.postMessage({ result: [[7]] }));",
  );
  const mortal = new TokenizerThread(tokenizer, limits, log, dies);
  const outcome = await Promise.allSettled([
    mortal.encode([{ text: `x${long}`, parseSpecial: false }]),
    mortal.encode(texts),
  ]);
  expect(outcome.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
  expect(await mortal.encode(texts)).toEqual([[7]]);
  await mortal.close();
  await expect(mortal.encode(texts)).rejects.toThrow('stopped');
  expect(events).toEqual(['tokenizer_failed']);

  const never = new TokenizerThread(tokenizer, limits, log, new URL('file:///nowhere/worker.mjs'));
  const plain = tokenizer.encode(long, { parseSpecial: false });
  expect(await Promise.all([never.encode(texts), never.encode(texts)])).toEqual([[plain], [plain]]);
  expect(events).toEqual(['tokenizer_failed', 'tokenizer_failed']);
});
