/** An answer through HTTP is the one that a request gets alone, bit for bit: whoever else is served, leaves, or comes back. */
import { seeded } from '@megamoe/testkit';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readEvents, serveTiny, user, WEATHER, type Chunk, type Running, type Usage } from './support';

let running: Running;
beforeAll(async () => {
  // Few sequences and little memory: requests wait, are put back and go on.
  running = await serveTiny({}, { maxSequences: 6, kvBytes: 24 << 20, cacheBytes: 8 << 20, maxQueue: 100 });
});
afterAll(() => running.server.close());

const URL_PATH = '/v1/chat/completions';

/** Requests of many kinds; each has its tokens by seed or by being greedy. */
const REQUESTS: readonly object[] = [
  { messages: user('What is 347 plus 285?'), temperature: 0 },
  { messages: user('What is 347 plus 285?'), temperature: 1, seed: 3, n: 2 },
  { messages: user('What is the capital of Italy?'), temperature: 0.8, seed: -5, thinking: false },
  { messages: user('What is the weather in Rome?'), tools: [WEATHER], temperature: 0 },
  { messages: user('Tell me a story. '.repeat(20)), temperature: 1.2, top_p: 0.9, seed: 11, thinking: false },
  { messages: user('Tell me a story.'), temperature: 1, seed: 7, frequency_penalty: 0.5, logit_bias: { '40': 2 } },
  { messages: user('What is 12 plus 30?'), temperature: 0, thinking_budget: 5 },
].map((request) => ({ ...request, max_tokens: 24, logprobs: true, top_logprobs: 2 }));

/** What is compared of an answer: all but ids, times and what was cached. */
function bitsOf(choices: Chunk['choices']): string {
  const strip = (key: string, value: unknown): unknown => (key === 'id' ? undefined : value);
  return JSON.stringify(choices, strip);
}

const ask = async (request: object): Promise<string> => {
  const response = await running.post(URL_PATH, request);
  expect(response.status).toBe(200);
  return bitsOf(((await response.json()) as Chunk).choices);
};

it('many at a time, some of whom leave', async () => {
  const alone: string[] = [];
  for (const request of REQUESTS) alone.push(await ask({ ...request, cache_prompt: false }));
  const random = seeded(1);
  const next = () => random.next();
  const together = Array.from({ length: 24 }, async (_, i) => {
    const which = Math.floor(next() * REQUESTS.length);
    const leaves = next() < 0.3;
    const after = Math.floor(next() * 300);
    const streamed = next() < 0.5;
    const salt = next() < 0.3 ? { cache_salt: `s${i % 3}` } : {};
    if (leaves) {
      const signal = AbortSignal.timeout(after);
      const body = { ...REQUESTS[which]!, stream: streamed, ...salt };
      await running.post(URL_PATH, body, {}, signal).then((r) => r.text()).catch(() => undefined); // prettier-ignore
      return;
    }
    expect(await ask({ ...REQUESTS[which]!, ...salt }), `request ${which}`).toBe(alone[which]);
  });
  await Promise.all(together);
  expect(await (await fetch(`${running.url}/metrics`)).text()).toMatch(/megamoe_num_requests_running 0\n/);
});

it('a stream has the tokens and log-probabilities of the whole answer', async () => {
  for (const request of [REQUESTS[0]!, REQUESTS[3]!]) {
    const whole = ((await (await running.post(URL_PATH, request)).json()) as Chunk).choices[0]!;
    const { data } = await readEvents(await running.post(URL_PATH, { ...request, stream: true }));
    const scores = data.flatMap(({ choices }) => choices[0]!.logprobs?.content ?? []);
    expect(JSON.stringify(scores)).toBe(JSON.stringify(whole.logprobs!.content));
  }
});

it('as many of the likeliest as were asked for, whichever was sampled', async () => {
  const body = { messages: user('Hi'), thinking: false, temperature: 2, seed: 5, max_tokens: 12, logprobs: true };
  for (const top of [0, 1, 3]) {
    const { choices } = (await (await running.post(URL_PATH, { ...body, top_logprobs: top })).json()) as Chunk;
    const tokens = choices[0]!.logprobs!.content as unknown as {
      token: string;
      top_logprobs: { token: string; logprob: number }[];
    }[];
    expect(tokens.map(({ top_logprobs }) => top_logprobs.length)).toEqual(tokens.map(() => top));
    if (top === 1) expect(tokens.some(({ token, top_logprobs }) => top_logprobs[0]!.token !== token)).toBe(true);
  }
});

it('a conversation that comes back finds its KV, and nobody else does', async () => {
  const first = { messages: user('What is 21 plus 34? Tell me.'), temperature: 0 };
  const turn = async (body: object): Promise<{ answer: object; usage: Usage }> => {
    const { choices, usage } = (await (await running.post(URL_PATH, body)).json()) as Chunk;
    return { answer: choices[0]!.message, usage: usage! };
  };
  const { answer, usage } = await turn({ ...first, cache_salt: 'mine' });
  const { reasoning, ...rest } = answer as { reasoning: string };
  expect(reasoning.length).toBeGreaterThan(10);
  // Without tools the prompt of a next turn has no reasoning of the one before: what is there is what both begin with.
  const messages = [...first.messages, rest, ...user('And plus 1?')];
  const again = await turn({
    messages: [...first.messages, rest, ...user('And 1?')],
    temperature: 0,
    cache_salt: 'mine',
  });
  expect(again.usage.prompt_tokens_details.cached_tokens).toBeGreaterThanOrEqual(usage.prompt_tokens - 1);
  const other = await turn({ messages, temperature: 0, cache_salt: 'other' });
  expect(other.usage.prompt_tokens_details.cached_tokens).toBe(0);
  // With tools all of it stays, and all of it is there but the end of the turn.
  const asked = {
    messages: user('What is the weather in Paris?'),
    tools: [WEATHER],
    temperature: 0,
    cache_salt: 'mine',
  };
  const called = await turn(asked);
  const result = {
    role: 'tool',
    tool_call_id: (called.answer as { tool_calls: { id: string }[] }).tool_calls[0]!.id,
    content: '{"temperature": 18}',
  };
  const second = await turn({ ...asked, messages: [...asked.messages, called.answer, result] });
  const { prompt_tokens: prompt, completion_tokens: completion } = called.usage;
  expect(second.usage.prompt_tokens_details.cached_tokens).toBeGreaterThanOrEqual(prompt + completion - 1);
});
