import { describe, expect, it } from 'vitest';
import { processLogits, resolveSamplingParams, Sampler, StopChecker, type SamplingParams } from '../src/index';

const resolve = (params: unknown, vocabSize = 10) => resolveSamplingParams(params as SamplingParams, vocabSize);

describe('defaults', () => {
  it('are all off', () => {
    expect(resolve({})).toEqual({
      greedy: false,
      temperature: 1,
      topK: 0,
      topP: 1,
      minP: 0,
      repetitionPenalty: 1,
      presencePenalty: 0,
      frequencyPenalty: 0,
      seed: undefined,
      logitBias: new Map(),
      badWords: [],
      allowedTokenIds: undefined,
      minTokens: 0,
      logprobs: undefined,
    });
    expect(resolve({ temperature: undefined, seed: undefined })).toEqual(resolve({}));
  });
  it.each([
    [0, true, 1],
    [-0, true, 1],
    [9e-6, true, 1],
    [1e-5, false, 0.01],
    [0.0099, false, 0.01],
    [0.01, false, 0.01],
    [1.5, false, 1.5],
  ])('temperature %d: greedy %s, divides by %d', (temperature, greedy, want) => {
    expect(resolve({ temperature })).toMatchObject({ greedy, temperature: want });
  });
  it.each([
    [-1, 0],
    [0, 0],
    [1, 1],
    [9, 9],
    [10, 0],
    [1e9, 0],
  ])('topK %d of 10 means %d', (topK, want) => expect(resolve({ topK }).topK).toBe(want));
});

describe('errors name the knob', () => {
  it.each<[object, string]>([
    [{ temperature: NaN }, '"temperature" must be a finite number in [0, 3.4e+38], got NaN'],
    [{ temperature: -0.1 }, '"temperature" must be a finite number in [0, 3.4e+38], got -0.1'],
    [{ temperature: Infinity }, '"temperature" must be a finite number'],
    [{ temperature: '1' }, '"temperature" must be a finite number'],
    [{ topK: 1.5 }, '"topK" must be an integer at least -1, got 1.5'],
    [{ topK: -2 }, '"topK" must be an integer at least -1, got -2'],
    [{ topK: NaN }, '"topK" must be an integer at least -1, got NaN'],
    [{ topP: -0.5 }, '"topP" must be a finite number above 0, got -0.5'],
    [{ topP: 0 }, '"topP" must be a finite number above 0, got 0'],
    [{ topP: 1.01 }, '"topP" must be a finite number in [0, 1], got 1.01'],
    [{ topP: NaN }, '"topP" must be a finite number above 0, got NaN'],
    [{ minP: -0.1 }, '"minP" must be a finite number in [0, 1], got -0.1'],
    [{ minP: 1.1 }, '"minP" must be a finite number in [0, 1], got 1.1'],
    [{ repetitionPenalty: 0 }, '"repetitionPenalty" must be a finite number above 0, got 0'],
    [{ repetitionPenalty: NaN }, '"repetitionPenalty" must be a finite number above 0, got NaN'],
    [{ repetitionPenalty: 1e-60 }, '"repetitionPenalty" must be a float32 above 0, got 1e-60'],
    [{ repetitionPenalty: 1e60 }, '"repetitionPenalty" must be a float32 above 0, got 1e+60'],
    [{ presencePenalty: 2.1 }, '"presencePenalty" must be a finite number in [-2, 2], got 2.1'],
    [{ frequencyPenalty: -3 }, '"frequencyPenalty" must be a finite number in [-2, 2], got -3'],
    [{ seed: 0.5 }, '"seed" must be an integer of at most 64 bits, got 0.5'],
    [
      { seed: 2 ** 53 },
      'got 9007199254740992 (beyond 2^53 - 1 numbers are not exact: give a bigint or decimal digits)',
    ],
    [{ seed: 2n ** 63n }, '"seed" must be in [-2^63, 2^63), the range of the OpenAI API, got 9223372036854775808'],
    [{ seed: '-9223372036854775809' }, '"seed" must be in [-2^63, 2^63)'],
    [{ seed: '1e3' }, '"seed" must be an integer: a number, a bigint or decimal digits, got "1e3"'],
    [{ seed: true }, 'decimal digits, got boolean'],
    [{ minTokens: -1 }, '"minTokens" must be an integer at least 0, got -1'],
    [{ logprobs: -1 }, '"logprobs" must be an integer in [0, 10], got -1'],
    [{ logprobs: 11 }, '"logprobs" must be an integer in [0, 10], got 11'],
    [{ logitBias: new Map([[10, 1]]) }, '"logitBias id" must be an integer in [0, 9], got 10'],
    [{ logitBias: new Map([[3, NaN]]) }, '"logitBias of 3" must be a finite number in [-100, 100], got NaN'],
    [{ logitBias: new Map([[3, 101]]) }, '"logitBias of 3" must be a finite number in [-100, 100], got 101'],
    [{ logitBias: { 3: 1 } }, '"logitBias" must be a Map of token id to number'],
    [{ badWords: 'no' }, '"badWords" must be an array of token id arrays'],
    [{ badWords: [3] }, '"badWords[0]" must be an array of token ids'],
    [{ badWords: [[1], []] }, '"badWords[1]" must not be empty'],
    [{ badWords: [[1, 10]] }, '"badWords[0]" must hold token ids in [0, 10), got 10 at index 1'],
    [{ allowedTokenIds: 3 }, '"allowedTokenIds" must be an array of token ids'],
    [{ allowedTokenIds: [] }, '"allowedTokenIds" must not be empty'],
    [{ allowedTokenIds: [0, -1] }, '"allowedTokenIds" must hold token ids in [0, 10), got -1 at index 1'],
    [{ top_p: 0.5 }, 'unknown parameter "top_p"; there are temperature, topK, topP'],
  ])('%o', (params, message) => {
    const said = (fn: string): RegExp => new RegExp(`^${fn}: .*${message.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`);
    expect(() => resolve(params)).toThrow(said('resolveSamplingParams'));
    expect(() => new Sampler({ vocabSize: 10, params, promptIds: [] })).toThrow(said('Sampler'));
  });
  it('and what is not an object, or no vocabulary', () => {
    expect(() => resolve(null)).toThrow('"params" must be an object, got null');
    expect(() => resolve({}, 0)).toThrow('"vocabSize" must be an integer in [1, 2147483647], got 0');
  });
  it('with codes to match on', () => {
    const codeOf = (params: unknown): unknown => {
      try {
        return resolve(params);
      } catch (e) {
        return (e as { code: string }).code;
      }
    };
    expect([codeOf({ topP: 2 }), codeOf({ badWords: 1 })]).toEqual(['ERR_VALUE', 'ERR_KIND']);
  });
});

it('does not keep the caller’s arrays', () => {
  const allowedTokenIds = [1];
  const badWords = [[2]];
  const logitBias = new Map([[1, 1]]);
  const resolved = resolve({ allowedTokenIds, badWords, logitBias });
  allowedTokenIds.push(5);
  badWords[0]!.push(5);
  logitBias.clear();
  expect(resolved).toMatchObject({ allowedTokenIds: [1], badWords: [[2]], logitBias: new Map([[1, 1]]) });
});

it('arguments of the wrong kind are named, by code', () => {
  const code = (run: () => unknown): unknown => {
    try {
      return run();
    } catch (error) {
      return (error as { code?: unknown }).code;
    }
  };
  const good = { vocabSize: 4, params: {}, promptIds: [] };
  const logits = new Float32Array(4);
  for (const wrong of [null, 1, Symbol('s'), 1n] as never[]) {
    const calls: Record<string, () => unknown> = {
      Sampler: () => new Sampler(wrong),
      promptIds: () => new Sampler({ ...good, promptIds: wrong }),
      samplerStopIds: () => new Sampler({ ...good, stopIds: wrong }),
      scratch: () => new Sampler({ ...good, scratch: wrong }),
      StopChecker: () => new StopChecker(wrong),
      stopIds: () => new StopChecker({ stopIds: wrong }),
      stopStrings: () => new StopChecker({ stopIds: [], stopStrings: wrong }),
      logits: () => processLogits(wrong, { params: {}, promptIds: [] }),
      options: () => processLogits(logits, wrong),
    };
    for (const [name, call] of Object.entries(calls)) expect([name, code(call)]).toEqual([name, 'ERR_KIND']);
  }
});
