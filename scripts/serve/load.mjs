/**
 * Load on `megamoe serve`: so many clients at a time, each with one streamed conversation after the other.
 *
 *   node scripts/serve/load.mjs [--clients 1,8,64,256] [--seconds 10] [--tokens 32] [-- options of serve]
 *   node scripts/serve/load.mjs --steady [--clients 1,8,64] [--tokens 200] [-- options of serve]
 *
 * Prints for each number of clients: tokens a second of all together, milliseconds to the first token and between tokens (median and 99th
 * percentile), those of /health meanwhile, microseconds of processor time a token (the server's thread that answers, all its others, the
 * clients), and the server's memory. Clients run in this process, beside the server, on the same cores.
 *
 * With `--steady` every client has one answer of so many tokens, and what counts is the time in which all of them stream: tokens a second
 * without prompts, which `scripts/engine-bench.mjs` measures of the engine and the bare step.
 */
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { StreamClient } from './client.mjs';
import { percentile, processor, startServer } from './server.mjs';

const split = process.argv.indexOf('--');
const { values } = parseArgs({
  args: process.argv.slice(2, split < 0 ? undefined : split),
  options: {
    clients: { type: 'string' },
    seconds: { type: 'string', default: '10' },
    tokens: { type: 'string' },
    steady: { type: 'boolean', default: false },
  },
});
const { steady } = values;
const tokens = Number(values.tokens ?? (steady ? 200 : 32));
const counts = (values.clients ?? (steady ? '1,8,64' : '1,8,64,256')).split(',').map(Number);
const more = split < 0 ? [] : process.argv.slice(split + 1);
const server = await startServer(['--max-queue', '1000', '--max-sequences', '256', ...more]);
const QUESTIONS = ['What is 347 plus 285?', 'What is the capital of Italy?', 'Tell me a story.', 'What is 12 plus 30?'];

const conversation = (i) => ({
  messages: [{ role: 'user', content: `${QUESTIONS[i % QUESTIONS.length]} (${i})` }],
  max_tokens: tokens,
  seed: i,
  ...(steady ? { ignore_eos: true } : {}),
});

/** Asks for /health until told to stop, which returns the times. */
function watchHealth() {
  const prober = new Worker(new URL('./health.mjs', import.meta.url), { workerData: server.url });
  const times = once(prober, 'message').then(([list]) => list);
  return () => {
    prober.postMessage('stop');
    return times;
  };
}

/** Microseconds of processor time a token, of the server's threads and of this process. */
function watchProcessor() {
  const [before, own] = [server.cpu(), process.cpuUsage()];
  return (n) => {
    const after = server.cpu();
    const { user, system } = process.cpuUsage(own);
    let [http, rest] = [0, 0];
    for (const [thread, seconds] of after) {
      const spent = seconds - (before.get(thread) ?? 0);
      if (thread === server.httpThread) http += spent;
      else rest += spent;
    }
    return [1e6 * http, 1e6 * rest, user + system].map((us) => (us / n).toFixed(0)).join(' / ');
  };
}

/** Conversations one after the other until the time is over. */
async function converse(clients) {
  const times = { first: [], between: [], tokens: 0 };
  const until = performance.now() + Number(values.seconds) * 1000;
  let [asked, all] = [0, 0];
  const client = async () => {
    const connection = new StreamClient(server.url);
    while (performance.now() < until) {
      const started = performance.now();
      let before;
      const n = await connection.ask(conversation(asked++), (got, now) => {
        if (before === undefined) times.first.push(now - started);
        else times.between.push((now - before) / got);
        before = now;
        if (now < until) times.tokens += got;
      });
      all += n;
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: clients }, client));
  return { asked, all, times, rate: (1000 * times.tokens) / (Number(values.seconds) * 1000) };
}

/** One answer each; the time from when all stream until the first one ends. The best of three rounds. */
async function stream(clients) {
  const times = { first: [], between: [] };
  let [rate, asked, all] = [0, 0, 0];
  const connections = Array.from({ length: clients }, () => new StreamClient(server.url));
  for (let round = 0; round < 3; round++) {
    const begun = new Set();
    let [n, from, to] = [0, 0, Infinity];
    await Promise.all(
      connections.map(async (connection) => {
        const started = performance.now();
        let before;
        const sum = await connection.ask(conversation(asked++), (got, now) => {
          if (before === undefined) times.first.push(now - started);
          else times.between.push((now - before) / got);
          before = now;
          if (begun.size < clients) {
            begun.add(connection);
            from = now;
          } else if (to === Infinity) n += got;
        });
        to = Math.min(to, performance.now());
        all += sum;
      }),
    );
    rate = Math.max(rate, (1000 * n) / (to - from));
  }
  for (const connection of connections) connection.close();
  return { asked, all, times, rate };
}

await server.findHttpThread();
console.log(processor());
console.log(
  'clients | conversations | tokens/s | first token ms p50 / p99 | between ms p50 / p99 | health ms p50 / p99 | us a token: http / others / clients | MB now / peak',
);
let one;
for (const clients of counts) {
  const health = watchHealth();
  const spent = watchProcessor();
  const { asked, all, times, rate } = await (steady ? stream(clients) : converse(clients));
  const us = spent(all);
  const ms = (list) => `${percentile(list, 0.5).toFixed(1)} / ${percentile(list, 0.99).toFixed(1)}`;
  const { now, peak } = server.memory();
  const row = [clients, asked, rate.toFixed(0), ms(times.first), ms(times.between), ms(await health()), us, `${now} / ${peak}`]; // prettier-ignore
  console.log(row.join(' | '));
  if (clients === 1) one = rate;
  else if (one !== undefined) console.log(`  ${(rate / one).toFixed(2)} times one client's rate`);
}
console.log(`ended with ${await server.stop()}`);
