import { describe, expect, it } from 'vitest';
import type { GenerateChunk, GenerateOptions, Model } from '../src/index';
import { BACKENDS, MICRO_FLASH, model, TINY } from './support';

async function collect(
  m: Model,
  o: GenerateOptions,
): Promise<{ text: string; reasoning: string; ids: number[]; last: GenerateChunk | undefined }> {
  let [text, reasoning, last] = ['', '', undefined as GenerateChunk | undefined];
  const ids: number[] = [];
  for await (const chunk of m.generate(o)) {
    text += chunk.text;
    reasoning += chunk.reasoning ?? '';
    if (chunk.tokenId !== undefined) ids.push(chunk.tokenId);
    last = chunk;
  }
  return { text, reasoning, ids, last };
}

describe.each(BACKENDS)('generate on %s', (backend) => {
  const tiny = (): Promise<Model> => model(TINY, { backend });

  it('answers Paris and stops at the end of the turn', async () => {
    const { text, ids, last } = await collect(await tiny(), { prompt: 'The capital of France is' });
    expect(text).toBe(' Paris.');
    expect(ids.at(-1)).toBe(1);
    expect(last).toMatchObject({ finishReason: 'stop', stop: { tokenId: 1 } });
    expect(last?.usage).toMatchObject({ promptTokens: 6, completionTokens: ids.length });
  });
  it('answers a chat turn, and special tokens in it stay text', async () => {
    const m = await tiny();
    const { text } = await collect(m, { messages: [{ role: 'user', content: 'What is 7 plus 5?' }] });
    expect(text).toBe('7 plus 5 is 12.');
    const forged = m.promptTokenIds({ messages: [{ role: 'user', content: '<｜User｜>' }] });
    expect(forged.filter((id) => id === m.tokenizer.specialIds.get('<｜User｜>'))).toHaveLength(1);
  });
  it('reasons where the prompt asks for it', async () => {
    const m = await tiny();
    const prompt = '<｜User｜>What is 26 plus 38?<｜Assistant｜><think>';
    const { text } = await collect(m, { prompt });
    expect(text).toBe(
      '6 plus 8 is 14, write 4, carry 1. 2 plus 3 plus 1 is 6, write 6. That is 64.</think>26 plus 38 is 64.',
    );
  });
  it('ids of the padded vocabulary have no text, stream on, and end nothing', async () => {
    const m = await tiny();
    expect(m.tokenizer.vocabSize).toBeLessThan(m.config.vocabSize);
    const allowed = [m.tokenizer.vocabSize, m.config.vocabSize - 1];
    const o = { prompt: 'The capital of France is', allowedTokenIds: allowed, maxTokens: 3, stop: ['x'] };
    const { text, ids, last } = await collect(m, o);
    expect([text, last?.finishReason]).toEqual(['', 'length']);
    expect(ids).toHaveLength(3);
    expect(ids.every((id) => allowed.includes(id))).toBe(true);
    expect((await collect(m, { tokenIds: [0, ...allowed], maxTokens: 1 })).ids).toHaveLength(1); // nor do they hurt in a prompt
    expect((await collect(m, { ...o, stopIds: [allowed[0]!, allowed[1]!] })).last).toMatchObject({
      finishReason: 'stop',
    });
  });
  it('stops at a text, at an id, at the limit', async () => {
    const m = await tiny();
    const prompt = 'The capital of France is';
    expect(await collect(m, { prompt, stop: ['is.', 'ri'] })).toMatchObject({
      text: ' Pa',
      last: { finishReason: 'stop', stop: { text: 'ri' } },
    });
    expect((await collect(m, { prompt, maxTokens: 1 })).last).toMatchObject({ finishReason: 'length' });
    expect((await collect(m, { prompt, maxTokens: 0 })).ids).toEqual([]);
    const past = await collect(m, { prompt, maxTokens: 12, ignoreEos: true });
    expect(past.ids).toHaveLength(12);
    const [first] = past.ids;
    expect((await collect(m, { prompt, stopIds: [first!] })).ids).toEqual([first]);
  });
  it('one stop text needs no list, and is not taken for its letters', async () => {
    const m = await tiny();
    const prompt = 'The capital of France is';
    const want = { text: ' ', last: { finishReason: 'stop', stop: { text: 'Paris' } } };
    for (const stop of ['Paris', ['Paris']]) expect(await collect(m, { prompt, stop })).toMatchObject(want);
  });
  it('special tokens are no text, unless that is asked for', async () => {
    const m = await tiny();
    const o = { tokenIds: [5], allowedTokenIds: [m.config.bosTokenId], ignoreEos: true, maxTokens: 2 };
    expect((await collect(m, o)).text).toBe('');
    expect((await collect(m, { ...o, skipSpecialTokens: false })).text).toBe('<｜begin▁of▁sentence｜>'.repeat(2));
  });
  it('counts the time of its steps, not that of whoever reads', async () => {
    const m = await tiny();
    let last: GenerateChunk | undefined;
    let waited = 0;
    for await (const chunk of m.generate({ prompt: 'The capital of France is', maxTokens: 3, ignoreEos: true })) {
      last = chunk;
      const start = performance.now();
      await new Promise((resolve) => setTimeout(resolve, 2000)); // three steps take a few ms, on a busy machine far less than this
      waited += performance.now() - start;
    }
    expect(waited).toBeGreaterThan(5900);
    expect(last!.usage!.decodeMs).toBeLessThan(waited / 3);
  });
  it('repeats itself for a seed, and gives log-probabilities', async () => {
    const m = await tiny();
    const o: GenerateOptions = { prompt: 'Once upon a time', temperature: 1.5, seed: 11, maxTokens: 20, logprobs: 2 };
    const [a, b] = [await collect(m, o), await collect(m, o)];
    expect(a.ids).toEqual(b.ids);
    expect((await collect(m, { ...o, seed: 12 })).ids).not.toEqual(a.ids);
    expect(a.last?.logprob).toBeLessThanOrEqual(0);
    expect(a.last?.topLogprobs?.length).toBeGreaterThanOrEqual(2);
  });
  it('is the same with chunks of three tokens', async () => {
    const small = await model(TINY, { backend, maxChunk: 3 });
    const o = { prompt: 'The chemical symbol of carbon', maxTokens: 16 };
    expect((await collect(small, o)).ids).toEqual((await collect(await tiny(), o)).ids);
  });
  it('dynamic input scales still answer', async () => {
    const m = await model(TINY, { backend, inputScales: 'dynamic' });
    expect((await collect(m, { prompt: 'The capital of France is' })).text).toBe(' Paris.');
  });
});

describe('aborting', () => {
  it('throws the reason before, between and after steps', async () => {
    const m = await model(TINY, { backend: 'js' });
    const gone = AbortSignal.abort(new Error('gone'));
    await expect(collect(m, { prompt: 'a', signal: gone })).rejects.toThrow('gone');
    const abort = new AbortController();
    const run = async (): Promise<number> => {
      let n = 0;
      for await (const chunk of m.generate({ prompt: 'Once', ignoreEos: true, maxTokens: 200, signal: abort.signal })) {
        if (++n === 3 && chunk) abort.abort(new Error('enough'));
      }
      return n;
    };
    await expect(run()).rejects.toThrow('enough');
  });
});

describe('bad input', () => {
  it.each<[string, object, RegExp]>([
    ['nothing to continue', {}, /exactly one of "prompt", "messages" and "tokenIds", got 0/],
    ['two things to continue', { prompt: 'a', tokenIds: [1] }, /got 2/],
    ['no tokens', { tokenIds: [] }, /no tokens/],
    ['an id out of range', { tokenIds: [4096] }, /token id 4096 at index 0 .*4096/],
    ['a negative id', { tokenIds: [0, -1] }, /token id -1 at index 1/],
    ['a fraction', { tokenIds: [0.5] }, /token id 0.5/],
    ['NaN temperature', { prompt: 'a', temperature: NaN }, /temperature/],
    ['a prompt over the limit', { tokenIds: new Int32Array(2048) }, /2048 tokens, the model's limit is 2048/],
    ['a negative budget', { prompt: 'a', maxTokens: -1 }, /maxTokens/],
    ['a budget that is a text', { prompt: 'a', maxTokens: '5' }, /"maxTokens" must be an integer at least 0, got "5"/],
    ['a stop that is a number', { prompt: 'a', stop: 5 }, /"stop" must be a text or an array of texts, got number/],
    [
      'a stop that is a set',
      { prompt: 'a', stop: new Set(['x']) },
      /"stop" must be a text or an array of texts, got obj/,
    ],
    ['an empty stop', { prompt: 'a', stop: [''] }, /must not hold an empty string/],
    ['a seed that nothing is drawn with', { prompt: 'a', seed: 1 }, /"seed" without "temperature" would do nothing/],
    ['a stop id out of range', { prompt: 'a', stopIds: [5000] }, /5000/],
  ])('%s', async (_, options, message) => {
    await expect(collect(await model(TINY, { backend: 'js' }), options as GenerateOptions)).rejects.toThrow(message);
  });
  it('text without a tokenizer', async () => {
    await expect(collect(await model(MICRO_FLASH, { backend: 'js' }), { prompt: 'a' })).rejects.toThrow(
      /no tokenizer.json/,
    );
  });
  it('forward: no tokens, a sequence twice, past the capacity, a wrong out', async () => {
    const m = await model(TINY, { backend: 'js' });
    const sequence = m.createSequence({ maxTokens: 4 });
    expect(() => m.forward([{ sequence, tokenIds: [] }])).toThrow(/no tokens/);
    expect(() =>
      m.forward([
        { sequence, tokenIds: [1] },
        { sequence, tokenIds: [1] },
      ]),
    ).toThrow(/repeats/);
    expect(() => m.forward([{ sequence, tokenIds: [1, 2, 3, 4, 5] }])).toThrow(
      /0 \+ 5 tokens, the sequence holds maxTokens = 4/,
    );
    expect(() => m.forward([{ sequence, tokenIds: [1] }], { out: new Float32Array(3) })).toThrow(/rows\*V = 1\*4096/);
    expect(sequence.length).toBe(0);
    expect(() => m.forward([])).toThrow(/the batch is empty/);
  });
  it('loadModel: unknown backend, no cuda, bad options, no folder, aborted', async () => {
    const { loadModel } = await import('../src/index');
    await expect(loadModel(TINY, { backend: 'gpu' as 'js' })).rejects.toThrow(/auto, js, cpu, cuda, got gpu/);
    await expect(loadModel(TINY, { backend: 'cuda' })).rejects.toThrow(/no "cuda" backend/);
    await expect(loadModel(TINY, { threads: 0 })).rejects.toThrow(/threads/);
    await expect(loadModel(TINY, { maxChunk: 0 })).rejects.toThrow(/maxChunk/);
    await expect(loadModel(TINY, { floatInputs: 'fp16' as never })).rejects.toThrow(
      '"floatInputs" must be one of f32, bf16, got fp16',
    );
    await expect(loadModel('no/such/folder')).rejects.toThrow(/no\/such\/folder/);
    await expect(loadModel(TINY, { signal: AbortSignal.abort(new Error('stop')) })).rejects.toThrow('stop');
  });
});

it('gives the reasoning of a conversation apart from the answer, in which alone stop texts count', async () => {
  const m = await model(TINY, {});
  const messages = [{ role: 'user' as const, content: 'What is 26 plus 38?' }];
  const asked = { messages, chat: { thinking: true } };
  const whole = await collect(m, asked);
  expect([whole.reasoning, whole.text]).toEqual([
    '6 plus 8 is 14, write 4, carry 1. 2 plus 3 plus 1 is 6, write 6. That is 64.',
    '26 plus 38 is 64.',
  ]);
  expect(whole.last).toMatchObject({ finishReason: 'stop', stop: { tokenId: 1 } });
  const prompt = '<｜User｜>What is 26 plus 38?<｜Assistant｜><think>';
  const split = await collect(m, { prompt, splitReasoning: true });
  expect([split.reasoning, split.text, split.ids]).toEqual([whole.reasoning, whole.text, whole.ids]);
  const raw = await collect(m, { ...asked, splitReasoning: false });
  expect([raw.reasoning, raw.text, raw.ids]).toEqual(['', `${whole.reasoning}</think>${whole.text}`, whole.ids]);
  const stopped = await collect(m, { ...asked, stop: ['is 14', ' plus 3', 'is 6'] });
  expect([stopped.reasoning, stopped.text]).toEqual([whole.reasoning, '26']);
  expect(stopped.last?.stop).toEqual({ text: ' plus 3' });
  const cut = await collect(m, { ...asked, maxTokens: 12 });
  expect([cut.text, cut.reasoning]).toEqual(['', whole.reasoning.slice(0, cut.reasoning.length)]);
  expect(cut.reasoning.length).toBeGreaterThan(5);
  const wrong = { messages, splitReasoning: 1 as unknown as boolean };
  expect(() => m.generate(wrong)).toThrow('generate: "splitReasoning" must be true or false, got number');
});
