import { expectBytes } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { Trace, type LoadOptions } from '../src/index';
import { ENGINES, maxAbs, MICRO_FLASH, MICRO_WIDE, model, readGolden, type Golden } from './support';

/** A plain float32 implementation reaches 1.6e-5 on these logits (standard deviation 1.3); the golden itself is float32. */
const BOUND = 5e-5;

/** Compares everything that both hold, at the golden's positions. */
function compareTrace(got: Map<string, Golden>, want: Map<string, Golden>, tokens: number): void {
  const positions = want.get('positions')!.data;
  for (const [name, golden] of want) {
    if (['logits', 'input_ids', 'positions'].includes(name)) continue;
    const ours = got.get(name)!;
    expect(ours, name).toBeDefined();
    if (/compressed_kv$/.test(name)) {
      expect([...ours.shape], name).toEqual([...golden.shape]);
      expect(maxAbs(ours.data, golden.data), name).toBeLessThan(BOUND);
    } else if (/visible$/.test(name)) {
      expectBytes(ours.data, golden.data, golden.shape);
    } else if (/topk_/.test(name)) {
      // The order within a row is not meaningful: compare by expert id.
      const k = golden.shape[1]!;
      const prefix = name.replace(/topk_.*/, '');
      const sorted = (m: Map<string, Golden>, s: number): [number, number][] =>
        Array.from({ length: k }, (_, j): [number, number] => [
          m.get(`${prefix}topk_ids`)!.data[s * k + j]!,
          m.get(`${prefix}topk_weights`)!.data[s * k + j]!,
        ]).sort((a, b) => a[0] - b[0]);
      for (let s = 0; s < tokens; s++) {
        const [a, b] = [sorted(got, s), sorted(want, s)];
        expect(
          a.map((x) => x[0]),
          `${name} of token ${s}`,
        ).toEqual(b.map((x) => x[0]));
        expect(
          maxAbs(
            a.map((x) => x[1]),
            b.map((x) => x[1]),
          ),
          `${name} of token ${s}`,
        ).toBeLessThan(BOUND);
      }
    } else {
      const row = golden.shape.slice(1).reduce((x, y) => x * y, 1);
      positions.forEach((p, i) => {
        const a = ours.data.subarray(p * row, (p + 1) * row);
        expect(maxAbs(a, golden.data.subarray(i * row, (i + 1) * row)), `${name} at position ${p}`).toBeLessThan(BOUND);
      });
    }
  }
}

async function run(
  dir: string,
  engine: LoadOptions,
  stepFrom: number | undefined,
): Promise<{ got: Map<string, Golden>; logits: Float32Array; want: Map<string, Golden>; ids: number[] }> {
  const want = readGolden(`${dir}/golden.safetensors`);
  const ids = [...want.get('input_ids')!.data];
  const m = await model(dir, engine);
  const trace = new Trace();
  const sequence = m.createSequence({ maxTokens: ids.length });
  const first = stepFrom ?? ids.length;
  const logits = new Float32Array(ids.length * m.config.vocabSize);
  logits.set(m.forward([{ sequence, tokenIds: ids.slice(0, first) }], { logits: 'all', trace }));
  for (let at = first; at < ids.length; at++) {
    logits.set(m.forward([{ sequence, tokenIds: [ids[at]!] }], { trace }), at * m.config.vocabSize);
  }
  return { got: trace.tensors(), logits, want, ids };
}

describe.each(ENGINES)('%j against Hugging Face', (engine) => {
  it.each([undefined, 137])('micro-flash: every layer and the logits, decoding from %s', async (stepFrom) => {
    const { got, logits, want, ids } = await run(MICRO_FLASH, engine, stepFrom);
    expect(maxAbs(logits, want.get('logits')!.data)).toBeLessThan(BOUND);
    compareTrace(got, want, ids.length);
  });
  it.each([undefined, 513])('micro-wide: every layer kept, decoding from %s', async (stepFrom) => {
    const { got, want, ids } = await run(MICRO_WIDE, engine, stepFrom);
    compareTrace(got, want, ids.length);
  });
});
