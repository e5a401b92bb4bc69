/** Arguments of the wrong kind, and such that change: an error that names function and argument, or what the first reading gives. */
import { expect, it } from 'vitest';
import { createSamplerScratch, philox4x32, processLogits, Sampler, scoreToken } from '../src/index';

const as = <T>(v: unknown): T => v as T;
const out = new Uint32Array(4);

it.each<[string, () => unknown]>([
  [
    'scoreToken: "scratch" must be what createSamplerScratch made, got null',
    () => scoreToken(new Float32Array(2), 0, 0, as(null)),
  ],
  [
    'scoreToken: "scratch" must be what createSamplerScratch made, got Object',
    () => scoreToken(new Float32Array(2), 0, 0, { ...createSamplerScratch(2) }),
  ],
  [
    'Sampler: "scratch" must be what createSamplerScratch made, got Object',
    () => new Sampler({ vocabSize: 2, params: {}, promptIds: [], scratch: as({ vocabSize: 2 }) }),
  ],
  [
    'philox4x32: "c1" must be an integer in [-2147483648, 4294967295], got 1.5',
    () => {
      philox4x32(0, 1.5, 0, 0, 0, 0, out);
    },
  ],
  [
    'philox4x32: "k0" must be an integer in [-2147483648, 4294967295], got Symbol(x)',
    () => {
      philox4x32(0, 0, 0, 0, as(Symbol('x')), 0, out);
    },
  ],
  [
    'philox4x32: "out" must be a Uint32Array, got undefined',
    () => {
      philox4x32(0, 0, 0, 0, 0, 0, as(undefined));
    },
  ],
  [
    'philox4x32: "out" must hold at least 4 elements, got 3',
    () => {
      philox4x32(0, 0, 0, 0, 0, 0, out.subarray(1));
    },
  ],
])('%s', (message, call) => expect(call).toThrow(message));

it('ids are read once', () => {
  let asked = 0;
  const promptIds = {
    length: 1,
    get 0() {
      return asked++ === 0 ? 1 : 99;
    },
  };
  const options = { params: { repetitionPenalty: 2, temperature: 0 }, promptIds, stage: 'penalties' } as const;
  expect([...processLogits(Float32Array.of(4, 4, 4), options)]).toEqual([4, 2, 4]);
});
