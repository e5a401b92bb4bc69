/**
 * Attacks `megamoe serve` over sockets and says after each whether it still lives, answers, and how large it is.
 *
 *   node scripts/serve/attack.mjs [--only NAME] [-- options of serve]
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { processor, startServer } from './server.mjs';

const split = process.argv.indexOf('--');
const { values } = parseArgs({
  args: process.argv.slice(2, split < 0 ? undefined : split),
  options: { only: { type: 'string', default: '' } },
});
const server = await startServer(['--max-queue', '50'].concat(split < 0 ? [] : process.argv.slice(split + 1)));
const { port } = new URL(server.url);
const open = new Set();

/** A connection; what comes is dropped unless somebody listens, so that its end is seen. */
function socket() {
  const made = connect(Number(port), '127.0.0.1').resume();
  made.on('error', () => undefined);
  made.on('close', () => open.delete(made));
  open.add(made);
  return made;
}

const head = (length, more = '') =>
  `POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n${more}\r\n`;
const body = (fields) => JSON.stringify({ messages: [{ role: 'user', content: 'Tell me a story.' }], ...fields });
const post = (text) =>
  fetch(`${server.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: text,
  });
const times = (n, what) => Promise.all(Array.from({ length: n }, (_, i) => what(i)));

/** What is done, and how many of the answers had which status. */
const ATTACKS = {
  'connections that say nothing': async () => {
    const all = Array.from({ length: 2000 }, socket);
    await sleep(1000);
    const soon = all.filter((s) => !s.destroyed).length;
    await sleep(12_000);
    return `${soon} of 2000 open after 1 s, ${all.filter((s) => !s.destroyed).length} after 13 s`;
  },
  'headers, a byte a second': async () => {
    const all = Array.from({ length: 200 }, socket);
    for (let i = 0; i < 12; i++) {
      for (const s of all) if (!s.destroyed) s.write(i === 0 ? 'GET / HTTP/1.1\r\n' : `x-${i}: 1\r\n`);
      await sleep(1000);
    }
    return `${all.filter((s) => !s.destroyed).length} of 200 open after 12 s`;
  },
  'half a body, and gone': async () => {
    await times(500, async (i) => {
      const s = socket();
      s.write(head(1000) + body({}).slice(0, i % 40));
      await sleep(i % 50);
      s.destroy();
    });
  },
  'bodies of 100 MB': () =>
    statuses(20, async () => {
      const s = socket();
      let got = '';
      s.on('data', (data) => (got += data));
      s.write(head(100_000_000));
      for (let i = 0; i < 100 && !s.destroyed; i++) {
        if (!s.write('a'.repeat(1_000_000)))
          await Promise.race([once(s, 'drain'), once(s, 'close')]).catch(() => undefined);
      }
      return /^HTTP\/1.1 (\d+)/.exec(got)?.[1] ?? 'closed';
    }),
  'nests of a million brackets': () => statuses(20, async () => (await post(`{"messages": ${'['.repeat(1e6)}`)).status),
  'ten million values': () => statuses(3, async () => (await post(`{"messages": [${'1,'.repeat(5e6)}1]}`)).status),
  'a text of 15 MB': () =>
    statuses(4, async () => (await post(body({ messages: [{ role: 'user', content: 'word '.repeat(3e6) }] }))).status),
  'a text of one letter, 15 MB': () =>
    statuses(2, async () => (await post(body({ messages: [{ role: 'user', content: 'a'.repeat(15e6) }] }))).status),
  'a text that just fits the check of its length': () =>
    statuses(8, async () => (await post(body({ messages: [{ role: 'user', content: 'a'.repeat(40_000) }] }))).status),
  'bytes at random': async () => {
    await times(300, async (i) => {
      const s = socket();
      s.write(Buffer.from(Array.from({ length: 1 + ((i * 7919) % 400) }, (_, k) => (i * 31 + k * k * 17) & 255)));
      await sleep(20);
      s.destroy();
    });
  },
  'a thousand requests, all gone after 20 ms': async () => {
    await times(1000, async () => {
      const s = socket();
      const text = body({ stream: true });
      s.write(head(Buffer.byteLength(text)) + text);
      await sleep(20);
      s.destroy();
    });
  },
  'streams that nobody reads': async () => {
    const all = await times(100, async () => {
      const s = socket();
      s.pause();
      const text = body({ stream: true, max_tokens: 200, logprobs: true, top_logprobs: 20 });
      s.write(head(Buffer.byteLength(text)) + text);
      return s;
    });
    await sleep(5000);
    return `${all.filter((s) => !s.destroyed).length} of 100 open`;
  },
  'more requests than fit': () => statuses(1000, async () => (await post(body({ max_tokens: 1 }))).status),
  'foreign names and pages': () =>
    statuses(50, async (i) => {
      const s = socket();
      let got = '';
      s.on('data', (data) => (got += data));
      s.write(
        `GET /v1/models HTTP/1.1\r\nhost: ${i % 2 ? 'evil.example' : 'localhost'}\r\norigin: https://evil.example\r\nconnection: close\r\n\r\n`,
      );
      await once(s, 'close');
      return /^HTTP\/1.1 (\d+)/.exec(got)?.[1] ?? 'closed';
    }),
};

async function statuses(n, what) {
  const all = await times(n, (i) => what(i).catch((e) => e.cause?.code ?? e.message));
  const counts = new Map();
  for (const status of all) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].map(([status, count]) => `${count} x ${status}`).join(', ');
}

console.log(processor());
console.log('attack | seconds | what came of it | health ms, slowest of it | an answer after it | MB now / peak');
let failed = false;
for (const [name, attack] of Object.entries(ATTACKS)) {
  if (!name.includes(values.only)) continue;
  const started = performance.now();
  let slowest = 0;
  let done = false;
  const watch = (async () => {
    while (!done) {
      const asked = performance.now();
      await fetch(`${server.url}/health`).then((r) => r.text()).catch(() => undefined); // prettier-ignore
      slowest = Math.max(slowest, performance.now() - asked);
      await sleep(100);
    }
  })();
  const said = (await attack()) ?? '';
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  for (const s of open) s.destroy();
  done = true;
  await watch;
  const asked = performance.now();
  const answer = await post(body({ temperature: 0, max_tokens: 4, thinking: false })).catch((e) => ({
    status: e.message,
  }));
  const ok = answer.status === 200 && server.alive();
  failed ||= !ok;
  const { now, peak } = server.memory();
  const after = ok ? `${(performance.now() - asked).toFixed(0)} ms` : `NO: ${answer.status}`;
  console.log([name, seconds, said, slowest.toFixed(0), after, `${now} / ${peak}`].join(' | '));
}
const ended = await server.stop();
console.log(`ended with ${ended}`);
process.exitCode = failed || ended !== 0 ? 1 : 0;
