/**
 * Mixed load on `megamoe serve` for minutes, with cancellations, and what becomes of its memory.
 *
 *   node scripts/serve/soak.mjs [--minutes 30] [--clients 16] [--seed 1] [-- options of serve]
 *
 * Clients ask for chats, whole and streamed, with tools, several answers, log-probabilities, budgets and stop texts, for second turns,
 * completions and tokens; three in ten leave after a random time, one in ten sends what is refused. Prints each minute: requests by status,
 * how many left, /health (median, 99th percentile), MB in use, and what the engine holds. Ends with 1 when an answer was not what it had to
 * be, or when memory at the end is more than a tenth above what it was after the first quarter.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { percentile, processor, startServer } from './server.mjs';

const split = process.argv.indexOf('--');
const { values } = parseArgs({
  args: process.argv.slice(2, split < 0 ? undefined : split),
  options: {
    minutes: { type: 'string', default: '30' },
    clients: { type: 'string', default: '16' },
    seed: { type: 'string', default: '1' },
  },
});
const minutes = Number(values.minutes);
const more = split < 0 ? [] : process.argv.slice(split + 1);
// Little memory for conversations: sequences are put back, prefixes let go, and what stays is reached soon.
const server = await startServer(['--kv-ram', '256MiB', '--max-queue', '64', '--max-sequences', '32', ...more]);

let state = Number(values.seed);
/** From 0 to 1: the same for the same seed. */
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const whole = (most) => Math.floor(random() * most);
const pick = (list) => list[whole(list.length)];

const WEATHER = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'Get the weather',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};
const CITIES = ['Paris', 'Rome', 'Berlin', 'Lima', 'Oslo'];
const question = () =>
  pick([
    () => `What is ${whole(900)} plus ${whole(900)}?`,
    () => `What is the capital of ${pick(['Italy', 'France', 'Peru', 'Norway'])}?`,
    () => `What is the weather in ${pick(CITIES)}?`,
    () => `Tell me a story. ${'And another. '.repeat(whole(200))}`,
  ])();
const user = (content) => ({ role: 'user', content });
const chat = (fields) => ['/v1/chat/completions', { max_tokens: 1 + whole(100), ...fields }];

const KINDS = [
  () => chat({ messages: [user(question())] }),
  () => chat({ messages: [user(question())], stream: true, stream_options: { include_usage: true } }),
  () => chat({ messages: [user(question())], stream: true, n: 1 + whole(4), seed: whole(100) }),
  () => chat({ messages: [user(question())], tools: [WEATHER], stream: random() < 0.5 }),
  () => chat({ messages: [user(question())], tools: [WEATHER], tool_choice: 'required' }),
  () => chat({ messages: [user(question())], logprobs: true, top_logprobs: 5, stream: random() < 0.5 }),
  () => chat({ messages: [user(question())], thinking_budget: whole(20), stop: ['.', '12'] }),
  () =>
    chat({ messages: [user(question()), { role: 'assistant', content: 'Yes.' }, user(question())], thinking: false }),
  () => ['/v1/completions', { prompt: [question(), question()], max_tokens: 1 + whole(40), echo: random() < 0.5, logprobs: 2 }], // prettier-ignore
  () => ['/v1/completions', { prompt: question(), max_tokens: 1 + whole(40), stream: true }],
  () => ['/tokenize', { prompt: question().repeat(1 + whole(20)) }],
];
const REFUSED = [
  () => ['/v1/chat/completions', { messages: [] }],
  () => ['/v1/chat/completions', { messages: [user('word '.repeat(20_000))] }],
  () => ['/v1/chat/completions', { messages: [user('Hi')], temperature: 9 }],
  () => ['/v1/completions', { prompt: [] }],
];

/** What went otherwise than it had to. */
const wrong = [];
let counts = new Map();
let health = [];
const count = (name) => counts.set(name, (counts.get(name) ?? 0) + 1);

/** Whether an answer is complete: a stream ends with [DONE] and says why each answer ended, and no error came. */
function isComplete(path, body, text) {
  if (path === '/tokenize') return JSON.parse(text).count > 0;
  if (!body.stream) return JSON.parse(text).choices.every((choice) => choice.finish_reason !== null);
  const ends = text.match(/"finish_reason":"/g)?.length ?? 0;
  return text.endsWith('data: [DONE]\n\n') && ends === (body.n ?? 1) && !text.includes('data: {"error"');
}

async function request() {
  const isRefused = random() < 0.1;
  const [path, body] = pick(isRefused ? REFUSED : KINDS)();
  const abort = new AbortController();
  if (random() < 0.3) setTimeout(() => abort.abort(), whole(1500));
  try {
    const response = await fetch(server.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: abort.signal,
    });
    const text = await response.text();
    count(response.status);
    if (response.status === 429) return; // as many wait as may
    // A connection that the client opened and did not use for ten seconds is answered so; clients ask again.
    if (response.status === 408) return;
    const expected = isRefused ? response.status === 400 : response.status === 200 && isComplete(path, body, text);
    if (!expected)
      wrong.push(`${response.status} for ${path} ${JSON.stringify(body).slice(0, 200)}: ${text.slice(-300)}`);
  } catch (error) {
    if (abort.signal.aborted) count('left');
    else wrong.push(`${path}: ${error.cause?.code ?? error.message}`);
  }
}

const until = performance.now() + 60_000 * minutes;
const clients = Array.from({ length: Number(values.clients) }, async () => {
  while (performance.now() < until) await request();
});
const watch = (async () => {
  while (performance.now() < until) {
    const asked = performance.now();
    const response = await fetch(`${server.url}/health`);
    await response.text();
    if (response.status !== 200) wrong.push(`/health ${response.status}`);
    health.push(performance.now() - asked);
    await sleep(100);
  }
})();

console.log(processor());
console.log(
  'minute | requests by status | health ms p50 / p99 | MB now / peak | of the engine: KV MB, prefixes MB, put back | wrong',
);
const memory = [];
for (let minute = 1; minute <= minutes; minute++) {
  await sleep(until - performance.now() - 60_000 * (minutes - minute));
  const { now, peak } = server.memory();
  memory.push(now);
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  const value = (name) => Number(new RegExp(`\nmegamoe_${name} (\\S+)`).exec(metrics)?.[1]);
  const mb = (name) => (value(name) / 2 ** 20).toFixed(0);
  const statuses = [...counts].sort().map(([name, n]) => `${n} x ${name}`).join(', '); // prettier-ignore
  const ms = (share) => percentile(health, share).toFixed(1);
  const engine = `${mb('kv_cache_bytes')}, ${mb('prefix_cache_bytes')}, ${value('num_preemptions_total')}`;
  console.log([minute, statuses, `${ms(0.5)} / ${ms(0.99)}`, `${now} / ${peak}`, engine, wrong.length].join(' | '));
  counts = new Map();
  health = [];
}
await Promise.all([...clients, watch]);
const ended = await server.stop();
for (const line of wrong.slice(0, 20)) console.log(line);
const settled = memory[Math.floor((memory.length - 1) / 4)];
const grown = memory.at(-1) / settled - 1;
console.log(`ended with ${ended}; memory ${settled} MB after a quarter, ${memory.at(-1)} MB at the end (${(100 * grown).toFixed(1)} %)`); // prettier-ignore
process.exitCode = wrong.length > 0 || ended !== 0 || grown > 0.1 ? 1 : 0;
