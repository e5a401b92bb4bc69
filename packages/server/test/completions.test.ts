/** Completions of raw text, with an engine that says what it is told to: echo, log-probabilities, streams, figures. */
import { readEncoding } from '@megamoe/chat';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createServer, type MegamoeServer } from '../src/index';
import { FakeEngine, idsOf } from './fake-engine';
import { readEvents, TINY, type Chunk } from './support';

let engine: FakeEngine;
let server: MegamoeServer;

beforeAll(async () => {
  engine = new FakeEngine();
  server = createServer({ open: async () => ({ engine, encoding: await readEncoding(TINY), names: ['tiny'] }) });
  await server.load();
});
beforeEach(() => {
  engine.script = {};
  engine.requests.length = 0;
});

const says = (text: string): void => void (engine.script = { says: () => text });

async function send(body: object): Promise<Response> {
  const response = await server.fetch(
    new Request('http://localhost/v1/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }),
  );
  if (response.status !== 200) throw new Error(await response.text());
  return response;
}
const complete = async (body: object): Promise<Chunk> => (await (await send(body)).json()) as Chunk;

/** `logprobs` of a choice of Completions. */
interface TextScores {
  readonly tokens: string[];
  readonly token_logprobs: (number | null)[];
  readonly top_logprobs: (Record<string, number> | null)[];
  readonly text_offset: number[];
}
const scoresOf = (chunk: Chunk, index = 0): TextScores => chunk.choices[index]!.logprobs as unknown as TextScores;

describe('log-probabilities', () => {
  it('of the prompt and what was sampled stand where their tokens stand in the text', async () => {
    const [prompt, output] = ['Grüße 世界: ', 'né 😀</think>, so.'];
    says(output);
    const answer = await complete({ prompt, echo: true, logprobs: 1, max_tokens: 50 });
    const { text } = answer.choices[0]!;
    expect(text).toBe(prompt + output.replace('</think>', '')); // special tokens are left out of the text
    const { tokens, token_logprobs: logprobs, top_logprobs: top, text_offset: offset } = scoresOf(answer);
    const ids = [0, ...idsOf(prompt), ...idsOf(output)];
    expect([tokens.length, logprobs.length, top.length, offset.length]).toEqual(ids.map(() => ids.length).slice(0, 4));
    // Nothing predicts the first token; the others have their own among the likeliest.
    expect([logprobs[0], top[0]]).toEqual([null, null]);
    tokens.slice(1).forEach((token, i) => expect(top[i + 1]).toEqual({ [token]: logprobs[i + 1] }));
    expect(offset).toEqual([...offset].sort((a, b) => a - b));
    tokens.forEach((token, i) => {
      const isWhole = i > 0 && !token.includes('\ufffd') && token !== '</think>';
      if (isWhole) expect(text.slice(offset[i]).startsWith(token), `${i}: ${token}`).toBe(true);
    });
    expect(tokens.filter((token) => token.includes('\ufffd')).length).toBeGreaterThan(1); // characters of several tokens
  });

  it('without echo begin at 0, and leave out the token that ends the answer', async () => {
    says(' Paris.');
    const { tokens, text_offset: offset } = scoresOf(await complete({ prompt: 'The capital is', logprobs: 0 }));
    expect([tokens.join(''), offset[0]]).toEqual([' Paris.', 0]);
  });

  it('of a stream join to those of the whole answer', async () => {
    says('né 😀, so.');
    const body = { prompt: 'Grüße', echo: true, logprobs: 2, n: 2 };
    const whole = await complete(body);
    const { data } = await readEvents(await send({ ...body, stream: true }));
    for (const index of [0, 1]) {
      const own = data.filter(({ choices: [choice] }) => choice!.index === index);
      const join = <K extends keyof TextScores>(key: K) => own.flatMap((chunk) => scoresOf(chunk)[key] as unknown[]);
      for (const key of ['tokens', 'token_logprobs', 'top_logprobs', 'text_offset'] as const) {
        expect(join(key), key).toEqual(scoresOf(whole, index)[key]);
      }
      expect(own.map(({ choices: [choice] }) => choice!.text).join('')).toBe(whole.choices[index]!.text);
    }
  });
});

describe('echo', () => {
  it('with max_tokens 0 gives the prompt alone, as often as asked', async () => {
    const answer = await complete({ prompt: ['a b', 'c'], echo: true, max_tokens: 0, n: 2, logprobs: 1 });
    expect(answer.choices.map(({ text, finish_reason: finish }) => [text, finish])).toEqual(
      ['a b', 'a b', 'c', 'c'].map((text) => [text, 'length']),
    );
    expect(answer.choices.map((_, i) => scoresOf(answer, i).tokens.slice(1).join(''))).toEqual([
      'a b',
      'a b',
      'c',
      'c',
    ]);
    expect(answer.usage!.completion_tokens).toBe(0);
  });

  it('shows ids of a prompt as their text', async () => {
    says('!');
    expect((await complete({ prompt: idsOf('Hello there'), echo: true })).choices[0]!.text).toBe('Hello there!');
  });
});

it('what is about text is asked of the engine: stops, special tokens, no BOS', async () => {
  await complete({
    ...{ prompt: 'a', stop: ['x', 'y'], include_stop_str_in_output: true, skip_special_tokens: false },
    ...{ add_special_tokens: false, min_tokens: 2, max_tokens: 7 },
  });
  expect(engine.requests[0]).toMatchObject({ stop: ['x', 'y'], includeStop: true, skipSpecialTokens: false, minTokens: 2, maxTokens: 7 }); // prettier-ignore
  expect(Array.from(engine.requests[0]!.tokenIds!)).toEqual(idsOf('a'));
});

it('the figures count all prompts and all answers', async () => {
  says(' Paris.');
  const { usage } = await complete({ prompt: ['a', 'b c'], n: 2 });
  expect(usage).toMatchObject({
    prompt_tokens: 2 + idsOf('a').length + idsOf('b c').length,
    completion_tokens: 4 * (idsOf(' Paris.').length + 1),
    total_tokens: usage!.prompt_tokens + usage!.completion_tokens,
  });
});
