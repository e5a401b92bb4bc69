import { overlaid, REWIND_TOKENS } from '@megamoe/ops';
import { expectBytes, expectClose, keysInBf16, seeded } from '@megamoe/testkit';
import { describe, expect, it } from 'vitest';
import { createBackend, type Backend, type LoadOptions, type Model, type Sequence } from '../src/index';
import { ENGINES, MICRO_FLASH, model, TINY } from './support';

describe.each(ENGINES)('%j: bits do not depend on company or on cuts', (engine) => {
  // The trained model has more of everything and takes the js backend half a minute; the small one has every kind of layer.
  const dir = engine.backend === 'js' ? MICRO_FLASH : TINY;

  it('a sequence computed beside others = alone', async () => {
    const m = await model(dir, engine);
    const random = seeded(6);
    const prompts = [3, 70, 1, 131].map((n) => Array.from({ length: n }, () => random.int(m.config.vocabSize)));
    const alone = prompts.map((tokenIds) => m.forward([{ sequence: m.createSequence(), tokenIds }]));
    const sequences = prompts.map(() => m.createSequence());
    const together = m.forward(prompts.map((tokenIds, i) => ({ sequence: sequences[i]!, tokenIds })));
    const v = m.config.vocabSize;
    alone.forEach((row, i) => expectBytes(together.subarray(i * v, (i + 1) * v), row));
    const step = m.forward(sequences.map((sequence) => ({ sequence, tokenIds: [9] })));
    const last = m.createSequence();
    m.forward([{ sequence: last, tokenIds: prompts[3]! }]);
    expectBytes(step.subarray(3 * v), m.forward([{ sequence: last, tokenIds: [9] }]));
  });

  it('clone, save and restore, and rewind change nothing', async () => {
    const m = await model(dir, engine);
    const random = seeded(7);
    const ids = Array.from({ length: 150 }, () => random.int(m.config.vocabSize));
    const sequence = m.createSequence();
    m.forward([{ sequence, tokenIds: ids }]);
    const clone = sequence.clone();
    const saved = structuredClone(sequence.save());
    const next = [5, 6, 7, 8, 9];
    const want = m.forward([{ sequence, tokenIds: next }]);
    expect(sequence.length).toBe(155);
    sequence.rewind(150);
    expect([...sequence.tokenIds]).toEqual(ids);
    m.forward([{ sequence, tokenIds: Array.from({ length: REWIND_TOKENS }, () => 11) }]);
    sequence.rewind(150);
    expectBytes(m.forward([{ sequence, tokenIds: next }]), want);
    // What the clone shares was written over above, for one of the two alone.
    expectBytes(m.forward([{ sequence: clone, tokenIds: next }]), want);
    const other = m.createSequence();
    other.restore(saved);
    expect([...other.tokenIds]).toEqual(ids);
    expectBytes(m.forward([{ sequence: other, tokenIds: next }]), want);
    const late = m.forward([{ sequence: other, tokenIds: Array.from({ length: 140 }, (_, i) => i) }]);
    expectBytes(m.forward([{ sequence: clone, tokenIds: Array.from({ length: 140 }, (_, i) => i) }]), late);
    expect(() => other.rewind(20)).toThrow(/"length" must be at least \d+: .* clone the sequence/);
    const held = m.kvBytes;
    for (const s of [sequence, clone, other]) s.dispose();
    expect(m.kvBytes).toBeLessThan(held);
    expect(() => m.forward([{ sequence, tokenIds: [1] }])).toThrow('the sequence has been disposed');
  });

  it('random clones, rewinds, saves and failed steps give the bits of a run that never had them', async () => {
    const m = await model(MICRO_FLASH, { ...engine, maxChunk: 48 });
    const v = m.config.vocabSize;
    const random = seeded(31);
    // Two texts: what one leaves behind in a page is wrong for the other.
    const texts = [0, 1].map(() => Array.from({ length: 420 }, () => random.int(v)));
    const plain = texts.map(() => m.createSequence());
    const wants = texts.map((tokenIds, i) => m.forward([{ sequence: plain[i]!, tokenIds }], { logits: 'all' }).slice());
    const textOf = new Map<Sequence, number>();
    const add = (text: number, sequence: Sequence): Sequence => (textOf.set(sequence, text), sequence);
    let sequences = [0, 1, 0].map((text) => add(text, m.createSequence()));
    for (let round = 0; round < 120; round++) {
      const at = random.int(sequences.length);
      const sequence = sequences[at]!;
      const text = textOf.get(sequence)!;
      const what = random.int(6);
      if (what === 0 && sequences.length < 5) sequences.push(add(text, sequence.clone()));
      else if (what === 1 && sequences.length > 3) sequences.splice(at, 1)[0]!.dispose();
      else if (what === 2)
        sequence.rewind(Math.max(sequence.pages.shortest, sequence.length - random.int(REWIND_TOKENS + 1)));
      else if (what === 3) {
        sequences[at] = add(text, m.createSequence());
        const saved = sequence.save();
        expect(saved.shortest).toBe(Math.max(sequence.pages.shortest, sequence.length - REWIND_TOKENS));
        sequences[at].restore(saved);
        sequence.dispose();
      } else {
        const going = sequences.filter((s) => s.length < 400 && random.int(2) === 1);
        if (going.length === 0) continue;
        const items = going.map((s) => ({
          sequence: s,
          tokenIds: texts[textOf.get(s)!]!.slice(s.length, s.length + 1 + random.int(20)),
        }));
        const ends = items.map((item) => item.sequence.length + item.tokenIds.length);
        const got = m.forward(items);
        ends.forEach((end, i) => {
          const want = wants[textOf.get(going[i]!)!]!;
          expectBytes(got.subarray(i * v, (i + 1) * v), want.subarray((end - 1) * v, end * v));
        });
      }
    }
    sequences.push(...plain);
    for (const sequence of sequences.splice(0)) sequence.dispose();
    sequences = [];
    expect(m.kvBytes).toBe(0);
  });
});

it('instruction sets agree: to float32 rounding as a whole, and they take the same experts and keys', async () => {
  const ids = Array.from({ length: 40 }, (_, i) => (i * 91) % 160);
  const [first, ...others] = ENGINES.filter((e) => e.backend === 'cpu');
  if (!first) return; // without a compiler there is one engine, and nothing to compare
  const run = async (engine: LoadOptions): Promise<Float32Array> => {
    const m = await model(MICRO_FLASH, engine);
    return m.forward([{ sequence: m.createSequence(), tokenIds: ids }], { logits: 'all' });
  };
  const want = await run(first);
  for (const engine of others) expectClose(await run(engine), want, { maxAbs: 2e-5, nmse: 1e-10 });
});

describe('saved sequences', () => {
  const filled = async (tokens: number) => {
    const m = await model(MICRO_FLASH, { backend: 'js' });
    const sequence = m.createSequence();
    m.forward([{ sequence, tokenIds: Array.from({ length: tokens }, (_, i) => (7 * i) % m.config.vocabSize) }]);
    return { m, sequence };
  };

  it('go to bytes and back, with the same bits, into the same model loaded anew', async () => {
    const { m, sequence } = await filled(141);
    const bytes = sequence.serialize();
    const { loadModel } = await import('../src/index');
    const again = await loadModel(MICRO_FLASH, { backend: 'js', maxChunk: 32 });
    const other = again.createSequence();
    other.deserialize(bytes.slice());
    expect([...other.tokenIds]).toEqual([...sequence.tokenIds]);
    const next = [{ tokenIds: [1, 2, 3] }];
    expectBytes(
      again.forward(next.map((x) => ({ ...x, sequence: other }))),
      m.forward(next.map((x) => ({ ...x, sequence }))),
    );
    again.dispose();
  });

  it('every damaged byte and every cut is noticed, and harms nothing', async () => {
    const { m, sequence } = await filled(5);
    const bytes = sequence.serialize();
    const random = seeded(3);
    const victim = m.createSequence();
    m.forward([{ sequence: victim, tokenIds: [1, 2] }]);
    for (let i = 0; i < 40; i++) {
      const bad = bytes.slice(0, i % 2 === 0 ? bytes.length : random.int(bytes.length));
      if (i % 2 === 0) bad[random.int(bad.length)]! ^= 1 + random.int(255);
      expect(() => victim.deserialize(bad)).toThrow(/Sequence.deserialize: "bytes" (must be what|are damaged)/);
    }
    expect([...victim.tokenIds]).toEqual([1, 2]);
    expect(() => victim.deserialize('x' as never)).toThrow(/must be a Uint8Array, got string/);
  });

  it('are refused by name when they are none, or of another model or treatment of inputs', async () => {
    const { m, sequence } = await filled(3);
    const saved = sequence.save();
    const other = m.createSequence();
    const cases: [unknown, RegExp][] = [
      [{}, /Sequence.restore: "saved" must be a megamoe-sequence of version 2.*got another object/],
      [null, /what Sequence.save gave, got null/],
      ['x', /got string/],
      [{ ...saved, tokenIds: [1, 2, 3] }, /"saved.tokenIds" must be.* Int32Array/],
      [{ ...saved, layers: undefined }, /"saved.layers" must be an array, got undefined/],
      [{ ...saved, layers: saved.layers.map(() => ({})) }, /"saved.layers\[0\]" must be a saved layer/],
      [{ ...saved, layers: [] }, /saved.layers/],
      [{ ...saved, model: 'abc' }, /"saved" is of another model.*fingerprint is abc/],
      [{ ...saved, backend: 'cuda' }, /"saved" was computed by backend cuda, this model is on js/],
      [
        { ...saved, layers: saved.layers.map((layer) => ({ ...layer, kv: 'bf16' })) },
        /"saved" holds keys in bf16, this model holds them in f32/,
      ],
    ];
    for (const [bad, message] of cases) expect(() => other.restore(bad as never)).toThrow(message);
    const float = await model(MICRO_FLASH, { backend: 'js', activations: 'float' });
    expect(() => float.createSequence().restore(saved)).toThrow(/loaded with other options/);
    const wide = await model(TINY, { backend: 'js' });
    expect(() => wide.createSequence().deserialize(sequence.serialize())).toThrow(
      /Sequence.deserialize: .*another model/,
    );
    expect(() => wide.forward([{ sequence, tokenIds: [1] }])).toThrow(/not one that this model made/);
    other.restore({ ...saved, model: undefined, backend: undefined });
    expect(other.length).toBe(3);
  });

  it('carry the backend, its math, and keys as they are held', async () => {
    const js = createBackend({ backend: 'js' });
    const ids = Array.from({ length: 140 }, (_, i) => (11 * i) % 160);
    const run = async (backend: Backend, kv: 'f32' | 'bf16') => {
      const m = await model(MICRO_FLASH, { backend, kv });
      const sequence = m.createSequence();
      m.forward([{ sequence, tokenIds: ids }]);
      return { m, sequence, bytes: sequence.serialize() };
    };
    const [half, float] = [await run(keysInBf16(js), 'bf16'), await run(js, 'f32')];
    const { layers } = half.sequence.save();
    expect(layers[2]!.parts.window).toBeInstanceOf(Uint16Array);
    expect(layers[2]!.parts.entries).toBeInstanceOf(Uint16Array);
    expect(layers[2]!.parts.indexEntries).toBeInstanceOf(Float32Array);
    expect(layers[2]!.parts.openKv).toBeInstanceOf(Float32Array);
    // There and back: the same bits as without it.
    const again = half.m.createSequence();
    again.deserialize(half.bytes);
    const next = (sequence: Sequence) => half.m.forward([{ sequence, tokenIds: [1, 2, 3] }]);
    expectBytes(next(again), next(half.sequence));
    // Less memory, and other logits: the option does something.
    expect(half.sequence.bytes).toBeLessThan(float.sequence.bytes);
    expect(next(half.sequence)).not.toEqual(float.m.forward([{ sequence: float.sequence, tokenIds: [1, 2, 3] }]));
    expect(half.m.plan.parts.find(({ name }) => name === 'state')!.bytes).toBeLessThan(
      float.m.plan.parts.find(({ name }) => name === 'state')!.bytes,
    );
    const refused = (m: Model, bytes: Uint8Array, says: string) =>
      expect(() => m.createSequence().deserialize(bytes)).toThrow(`Sequence.deserialize: "saved" ${says}`);
    refused(half.m, float.bytes, 'holds keys in f32, this model holds them in bf16');
    refused(float.m, half.bytes, 'holds keys in bf16, this model holds them in f32');
    const fast = await run(overlaid(js, { w4a4Math: 'fast' }), 'f32');
    refused(float.m, fast.bytes, 'was computed by backend js with fast math, this model is on js');
    refused(fast.m, float.bytes, 'was computed by backend js, this model is on js with fast math');
  });
});
