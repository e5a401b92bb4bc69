/** Keys in BF16: judged as such, rounding by rounding. */
import { createBackend } from '@megamoe/model';
import { keysInBf16 } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { nearestHeld } from '../src/decode';
import { verifyBackend, type VerifyResult } from '../src/index';
import { MICRO_CONFIG, openMicro, someTokens } from './support';

const source = openMicro();
const js = createBackend({ backend: 'js' });

const verify = (round?: (x: number, part: string) => number): Promise<VerifyResult> =>
  verifyBackend({
    ...{ source, backend: keysInBf16(js, round), kv: 'bf16', decode: 2, maxChunk: 96, everyPrecision: false },
    tokenIds: someTokens(140, MICRO_CONFIG.vocabSize),
  });

/** Rounded towards zero. */
function cut(x: number): number {
  const bits = new Uint32Array(Float32Array.of(x).buffer);
  bits[0]! &= 0xffff0000;
  return new Float32Array(bits.buffer)[0]!;
}

describe('keys in BF16', () => {
  it('are right when each is rounded once', async () => {
    const { passed, findings, ops } = await verify();
    expect(findings).toEqual([]);
    expect(passed).toBe(true);
    const reasonOf = (op: string): string => ops.find((o) => o.layer === 2 && o.op === op)!.reason;
    expect(reasonOf('attn.window')).toContain('rounded once to BF16');
    expect(reasonOf('attn.compressor.pool')).toContain('nearest value that rounds to what is held');
    expect(reasonOf('attn.indexer.compressor.pool')).not.toContain('BF16');
    const layers = ops.filter(({ op }) => op === 'layer');
    expect(layers.length).toBe(MICRO_CONFIG.numHiddenLayers);
    for (const { error, bound } of layers) expect([bound, error < bound / 10]).toEqual([1e-7, true]);
  });

  it.each([
    ['keys that are cut off', (x: number) => cut(x), '0 attn.window'],
    ['keys that attention sees otherwise than the cache shows them', (x: number) => x, '0 attn.visible'],
    [
      'entries that are cut off',
      (x: number, part: string) => (part === 'entries' ? cut(x) : NaN),
      '2 attn.compressor.pool',
    ],
    ['entries that attention sees so', (x: number, part: string) => (part === 'entries' ? x : NaN), '2 attn.visible'],
  ])('%s', async (_, wrong, named) => {
    const { findings } = await verify((x, part) => {
      const y = wrong(x, part);
      return Number.isNaN(y) ? nearest(x) : y;
    });
    expect(findings.slice(0, 1).map(({ layer, op }) => `${layer} ${op}`)).toEqual([named]);
  });

  it('are refused by name where a backend cannot hold them', async () => {
    const asked = verifyBackend({ source, backend: js, kv: 'bf16', tokenIds: [1] });
    await expect(asked).rejects.toThrow("verifyBackend: kv: 'bf16' needs the cuda backend; this is js (asked for)");
  });
});

/** Rounded to nearest even, by division: another way than anybody's here. */
function nearest(x: number): number {
  if (x === 0) return x;
  const unit = 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(x)))) - 7);
  const [whole, rest] = [Math.floor(x / unit), x / unit - Math.floor(x / unit)];
  return (rest > 0.5 || (rest === 0.5 && whole % 2 !== 0) ? whole + 1 : whole) * unit;
}

it('what a held value may have been', () => {
  const held = Float32Array.of(1, 1, 1, -1.5, 0, 0, 1.0001);
  // Below 1 values lie half as far apart.
  const want = [1.1, 0.9, 1.001, -1.51, 1, -1e-41, 3];
  const near = nearestHeld(held, want);
  expect([...near.subarray(0, 4)]).toEqual([1 + 2 ** -8, 1 - 2 ** -9, 1.001, -1.5 - 2 ** -8]);
  expect(near[4]).toBe(2 ** -134);
  expect(near[5]).toBe(-1e-41);
  expect(near[6]).toBe(held[6]);
});
