/**
 * `megamoe serve` on a GPU: 64 clients at a time get what each of them gets alone, bit for bit. `node scripts/cuda/server.test.mjs --backend cpu` asks
 * the same of a machine without one.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { backendName, model, note, ROOT, seeded, TINY } from './support.mjs';

const CLIENTS = 64;
const LEAVING = 12;
const VOCABULARY = 4096;

/** Options of the GPU that have bits of their own, on the command line and as `loadModel` takes them. */
const GPU_FLAGS = ['--kv', 'bf16', '--gpu-math', 'fast'];
const GPU_OPTIONS = { kv: 'bf16', gpuMath: 'fast' };

/** Starts the server; answers when its model is loaded. */
async function serve(...more) {
  const program = join(ROOT, 'packages', 'cli', 'dist', 'main.js');
  const args = ['serve', '--model', TINY, '--backend', backendName, '--port', '0', '--max-sequences', '48', ...more];
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const exit = once(child, 'exit');
  let out = '';
  let log = '';
  child.stderr.on('data', (data) => (log += data));
  await new Promise((resolve, reject) => {
    child.stdout.on('data', (data) => {
      out += data;
      if (/^KV memory .*\n/m.test(out)) resolve();
    });
    exit.then(([code]) => reject(new Error(`megamoe ${args.join(' ')} ended with ${code}\n${out}${log}`)));
  });
  const url = /Listening on (http:\S+),/.exec(out)[1];
  const stop = async () => {
    child.kill('SIGTERM');
    const [code] = await exit;
    return code;
  };
  return { url, stop, banner: out, log: () => log };
}

/** A request of random length, taste and end. */
function requestOf(r, i) {
  const tokens = 1 + Math.floor(180 * r.next() ** 3);
  return {
    prompt: Array.from({ length: tokens }, () => r.int(VOCABULARY)),
    max_tokens: 1 + r.int(10),
    logprobs: r.int(4),
    ignore_eos: true,
    ...(r.next() < 0.3 ? { temperature: 0 } : { temperature: 0.3 + 1.5 * r.next(), top_p: 0.5 + 0.5 * r.next() }),
    seed: i * 7919 + 13,
  };
}

/** What is compared of an answer: its text, tokens and log-probabilities, all digits. */
function bitsOf({ text, logprobs, finish_reason: finish }) {
  const { tokens, token_logprobs, top_logprobs } = logprobs;
  return { text, finish, tokens, token_logprobs, top_logprobs };
}

/** Log-probabilities of what a model in this process answers, in chunks of 7. */
async function scoresHere(request, options) {
  const { prompt: tokenIds, max_tokens: maxTokens, logprobs, temperature, top_p: topP, seed } = request;
  const m = await model.loadModel(TINY, { backend: backendName, maxChunk: 7, ...options });
  const sampling = temperature > 0 ? { temperature, topP, seed } : {};
  const scores = [];
  for await (const { logprob } of m.generate({ tokenIds, maxTokens, logprobs, ignoreEos: true, ...sampling }))
    if (logprob !== undefined) scores.push(logprob);
  m.dispose();
  return scores;
}

describe(`megamoe serve --backend ${backendName}`, () => {
  const r = seeded(2026);
  const requests = Array.from({ length: CLIENTS }, (_, i) => requestOf(r, i));
  const alone = [];
  let server;
  let first;
  const ask = (body, signal) =>
    fetch(`${server.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal,
    });
  const answer = async (body) => {
    const response = await ask(body);
    const text = await response.text();
    assert.equal(response.status, 200, text);
    return bitsOf(JSON.parse(text).choices[0]);
  };
  /** The chunks of a stream, put together. */
  const streamed = async (body) => {
    const text = await (await ask({ ...body, stream: true })).text();
    const whole = { text: '', logprobs: { tokens: [], token_logprobs: [], top_logprobs: [] }, finish_reason: null };
    for (const line of text.split('\n\n')) {
      if (!line.startsWith('data: {')) continue;
      const [choice] = JSON.parse(line.slice(6)).choices;
      whole.text += choice.text;
      for (const name of Object.keys(whole.logprobs)) whole.logprobs[name].push(...(choice.logprobs?.[name] ?? []));
      whole.finish_reason = choice.finish_reason;
    }
    return bitsOf(whole);
  };

  before(async () => {
    first = server = await serve();
  });
  after(async () => {
    if (server !== undefined) await server.stop();
  });

  it('says where it computes', () => {
    assert.match(server.banner, new RegExp(`^backend +${backendName}$`, 'm'));
  });

  it('answers requests one at a time', async () => {
    for (const request of requests) alone.push(await answer({ ...request, cache_prompt: false }));
    assert.ok(alone.every(({ tokens, finish }, i) => tokens.length === requests[i].max_tokens && finish === 'length'));
    assert.ok(new Set(alone.map(({ text }) => text)).size > CLIENTS / 2, 'answers differ');
  });

  it('gives 64 clients at a time the same, while others leave', async () => {
    const order = requests.map((_, i) => i).sort(() => r.next() - 0.5);
    const leaving = Array.from({ length: LEAVING }, async (_, i) => {
      const body = { ...requestOf(r, 1000 + i), max_tokens: 200, stream: true };
      const leave = new AbortController();
      const response = await ask(body, leave.signal);
      const reader = response.body.getReader();
      for (let n = r.int(4); n >= 0; n--) await reader.read();
      leave.abort();
    });
    const clients = order.map(async (which) => {
      const got = await (r.next() < 0.5 ? streamed : answer)(requests[which]);
      assert.deepEqual(got, alone[which], `request ${which}`);
    });
    await Promise.all(clients);
    await Promise.allSettled(leaving);
    // Once more, with the prompts' prefixes in memory.
    await Promise.all(order.map(async (i) => assert.deepEqual(await answer(requests[i]), alone[i], `request ${i}`)));
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    assert.match(metrics, /^megamoe_num_requests_running 0$/m);
    note(`${CLIENTS} clients on ${backendName}: tokens and log-probabilities are those that each gets alone`);
  });

  it('gives what a model in another process gives, in chunks of 7', async () => {
    for (const which of [0, 1, 2, 3])
      assert.deepEqual(await scoresHere(requests[which], {}), alone[which].token_logprobs, `request ${which}`);
  });

  it('ends when it is asked to', async () => {
    const running = server;
    server = undefined;
    assert.equal(await running.stop(), 0, running.log());
  });

  it('takes the options of the GPU, and says no to them elsewhere', async () => {
    if (backendName !== 'cuda') {
      await assert.rejects(serve('--kv', 'bf16'), /kv: 'bf16' needs the cuda backend; this is cpu/);
      await assert.rejects(serve('--gpu-math', 'fast'), /"gpuMath" is for backend cuda, got fast with backend cpu/);
      return;
    }
    const perToken = ({ banner }) => /^KV memory +(\S+ \S+) a token/m.exec(banner)[1];
    const before = perToken(first);
    server = await serve(...GPU_FLAGS);
    assert.notEqual(perToken(server), before);
    const { token_logprobs: got } = await answer(requests[0]);
    assert.deepEqual(got, await scoresHere(requests[0], GPU_OPTIONS));
    assert.notDeepEqual(got, alone[0].token_logprobs, 'the options do something');
    note(`KV: ${before} a token in float32, ${perToken(server)} in BF16`);
  });
});
