/**
 * Load on `megamoe serve`: so many clients at a time, each with one streamed conversation after the other.
 *
 *   node scripts/serve/load.mjs [--clients 1,8,64,256] [--seconds 10] [--tokens 32] [-- options of serve]
 *
 * Prints for each number of clients: tokens a second of all together, milliseconds to the first token and between tokens (median and 99th
 * percentile), the 99th percentile of /health meanwhile, and the server's memory. Clients run in this process, beside the server.
 */
import { parseArgs, TextDecoder } from 'node:util';
import { percentile, processor, startServer } from './server.mjs';

const split = process.argv.indexOf('--');
const own = process.argv.slice(2, split < 0 ? undefined : split);
const { values } = parseArgs({
  args: own,
  options: {
    clients: { type: 'string', default: '1,8,64,256' },
    seconds: { type: 'string', default: '10' },
    tokens: { type: 'string', default: '32' },
  },
});
const seconds = Number(values.seconds);
const server = await startServer([
  '--max-queue',
  '1000',
  '--max-sequences',
  '256',
  ...(split < 0 ? [] : process.argv.slice(split + 1)),
]);
const QUESTIONS = ['What is 347 plus 285?', 'What is the capital of Italy?', 'Tell me a story.', 'What is 12 plus 30?'];

/** One conversation; its times go to `times`. */
async function converse(i, times, until) {
  const started = performance.now();
  const response = await fetch(`${server.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      messages: [{ role: 'user', content: `${QUESTIONS[i % QUESTIONS.length]} (${i})` }],
      max_tokens: Number(values.tokens),
      seed: i,
      stream: true,
    }),
  });
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
  const decoder = new TextDecoder();
  let before;
  let rest = '';
  for await (const bytes of response.body) {
    const now = performance.now();
    const events = (rest + decoder.decode(bytes, { stream: true })).split('\n\n');
    rest = events.pop();
    const n = events.filter((event) => /"(content|reasoning)":"[^"]/.test(event)).length;
    if (n === 0) continue;
    if (before === undefined) times.first.push(now - started);
    else times.between.push((now - before) / n);
    before = now;
    if (now < until) times.tokens += n;
  }
}

async function measure(clients) {
  const times = { first: [], between: [], health: [], tokens: 0 };
  const until = performance.now() + seconds * 1000;
  let asked = 0;
  const client = async () => {
    while (performance.now() < until) await converse(asked++, times, until);
  };
  const watch = (async () => {
    while (performance.now() < until) {
      const started = performance.now();
      await (await fetch(`${server.url}/health`)).text();
      times.health.push(performance.now() - started);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  await Promise.all([...Array.from({ length: clients }, client), watch]);
  const ms = (list, share) => percentile(list, share).toFixed(0);
  const { now, peak } = server.memory();
  const row = [
    clients,
    asked,
    (times.tokens / seconds).toFixed(0),
    `${ms(times.first, 0.5)} / ${ms(times.first, 0.99)}`,
    `${ms(times.between, 0.5)} / ${ms(times.between, 0.99)}`,
    ms(times.health, 0.99),
    `${now} / ${peak}`,
  ];
  console.log(row.join(' | '));
}

console.log(processor());
console.log(
  'clients | conversations | tokens/s | first token ms p50 / p99 | between ms p50 / p99 | health ms p99 | MB now / peak',
);
for (const clients of values.clients.split(',').map(Number)) await measure(clients);
console.log(`ended with ${await server.stop()}`);
