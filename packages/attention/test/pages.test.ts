import { REWIND_TOKENS, type LayerSpec } from '@megamoe/ops';
import { expectBytes } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BACKENDS as ALL } from './backends';
import { makeLayer, makeTokens, Room, run, type Layer, type Outputs, type Sequence, type Tokens } from './layer-run';

/** Threads are layer.test.ts's concern. */
const BACKENDS = ALL.filter(({ kernels }) => kernels.threads !== 1 || kernels.backend === 'js');

const SPECS: readonly LayerSpec[] = [
  { ratio: 0, window: 9, headDim: 6 },
  { ratio: 4, window: 9, headDim: 8, indexHeadDim: 5 },
  { ratio: 128, window: 9, headDim: 6 },
];
/** One layer of each kind, in one cache. */
const LAYERS: readonly Layer[] = SPECS.map((spec, i) => makeLayer(spec, { heads: 2, topk: 3, seed: i }));
const tokensOf = (tokens: number, seed: number): Tokens[] =>
  LAYERS.map((layer, i) => makeTokens(layer, tokens, 10 * seed + i));

/** What each layer gives for tokens [from, to) of a sequence equals a run of its own, bit for bit. */
function expectRows(s: Sequence, whole: readonly Outputs[], from: number, to: number): void {
  whole.forEach(({ out, keys }, i) => {
    const width = out.length / s.inputs[i]!.tokens;
    expectBytes(s.outputs[i]!.out.subarray(from * width, to * width), out.subarray(from * width, to * width));
    expect(s.outputs[i]!.keys.slice(from, to)).toEqual(keys.slice(from, to));
  });
}

describe.each(BACKENDS)('pages on $name', ({ kernels }) => {
  const TOKENS = 300;
  const inputs = [1, 2, 3, 4].map((seed) => tokensOf(TOKENS, seed));
  const whole = inputs.map((own) => own.map((tokens) => run(kernels, tokens, [TOKENS])));
  /** Feeds a sequence up to `end`, `chunk` tokens a step. */
  const feed = (room: Room, s: Sequence, end: number, chunk: number): void => {
    while (s.length < end) room.step([[s, Math.min(chunk, end - s.length)]]);
  };

  it.each([63, 64, 65, 127, 128, 129, 255, 256, 257])('a step may end at token %i', (end) => {
    const room = new Room(kernels, LAYERS);
    const s = room.sequence(inputs[0]!);
    feed(room, s, end, end);
    feed(room, s, TOKENS, TOKENS);
    expectRows(s, whole[0]!, 0, TOKENS);
  });

  it('positions beyond 1,000 see what they should, with memory for the live pages only', () => {
    const long = tokensOf(1200, 9);
    const room = new Room(kernels, LAYERS);
    const s = room.sequence(long);
    feed(room, s, 1200, 300);
    const other = new Room(kernels, LAYERS);
    const t = other.sequence(long);
    feed(other, t, 1100, 550);
    feed(other, t, 1200, 1);
    t.outputs.forEach(({ out, keys }, i) => {
      expectBytes(out, s.outputs[i]!.out);
      expect(keys).toEqual(s.outputs[i]!.keys);
    });
    // 1200 - 64 - 8 = 1128: page 17 on; entries are kept; the open HCA window before 1136 began at 1024
    expect(s.pages.list('window')).toMatchObject({ first: 17, ids: { length: 2 } });
    expect(s.pages.list('open128').first).toBe(16);
    expect(s.pages.list('entries4').ids.length).toBe(5);
    expect(s.pages.list('entries128').ids.length).toBe(1);
    expect(Math.max(...s.outputs[2]!.keys[1199]!.map((key) => (key.startsWith('e') ? Number(key.slice(1)) : -1)))).toBe(8); // prettier-ignore
  });

  it('sequences in one step give the bits that they give alone, in any order and any numbers of tokens', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.uniqueArray(fc.record({ s: fc.nat(3), n: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 70 })) }), {
            selector: ({ s }) => s,
            minLength: 1,
            maxLength: 4,
          }),
          { minLength: 1, maxLength: 12 },
        ),
        (steps) => {
          const room = new Room(kernels, LAYERS);
          const sequences = inputs.map((own) => room.sequence(own));
          for (const step of steps) {
            const items = step
              .map(({ s, n }) => [sequences[s]!, Math.min(n, TOKENS - sequences[s]!.length)] as const)
              .filter(([, n]) => n > 0);
            if (items.length > 0) room.step(items);
          }
          sequences.forEach((s, i) => expectRows(s, whole[i]!, 0, s.length));
        },
      ),
      { numRuns: 8, seed: 5 },
    );
  });

  it('64 sequences with a token each', () => {
    const room = new Room(kernels, LAYERS);
    const sequences = Array.from({ length: 64 }, (_, i) => room.sequence(inputs[i % 4]!));
    sequences.forEach((s, i) => feed(room, s, 4 * i, 200)); // lengths 0 to 252
    for (let i = 0; i < 5; i++) room.step(sequences.map((s) => [s, 1]));
    sequences.forEach((s, i) => expectRows(s, whole[i % 4]!, 0, s.length));
  });

  it.each([0, 1, 6, 63, 64, 65, 127, 130, 257])('a clone at %i: both go on, each with its own tokens', (at) => {
    const room = new Room(kernels, LAYERS);
    const s = room.sequence(inputs[0]!);
    feed(room, s, at, 40);
    const strays = [s.clone(inputs[1]), s.clone(inputs[2])];
    const copy = s.clone();
    for (let i = 0; i < 20; i++) room.step([[strays[0]!, 1], [s, 1], [strays[1]!, 2]]); // prettier-ignore
    feed(room, copy, TOKENS, 13);
    feed(room, s, TOKENS, 50);
    expectRows(s, whole[0]!, 0, TOKENS);
    expectRows(copy, whole[0]!, 0, TOKENS);
  });

  it('a step that fails at any operation leaves every sequence as it was', () => {
    for (const op of ['writeWindow', 'compress', 'indexSelect', 'attend']) {
      const room = new Room(kernels, LAYERS);
      const s = room.sequence(inputs[0]!);
      const t = room.sequence(inputs[1]!);
      feed(room, s, 50, 50);
      feed(room, t, 120, 60);
      while (s.length < 200) {
        // other tokens first, and more of them; then the right ones
        const [wrong, wrongToo] = [s.clone(inputs[2]), t.clone(inputs[3])];
        expect(room.step([[wrong, 9], [wrongToo, 11]], (name, layer) => name === op && layer > 0)).toBe(false); // prettier-ignore
        wrong.pages.dispose();
        wrongToo.pages.dispose();
        expect(room.step([[s, 12], [t, 3]], (name, layer) => name === op && layer > 0)).toBe(false); // prettier-ignore
        room.step([[s, 10], [t, 10]]); // prettier-ignore
      }
      expectRows(s, whole[0]!, 0, s.length);
      expectRows(t, whole[1]!, 0, t.length);
    }
  });

  it.each([1, 7, 63, REWIND_TOKENS])('rewinds of %i tokens, with others in their place and without', (back) => {
    for (const at of [back, 130, 140, 200, 257]) {
      if (at < back) continue;
      const room = new Room(kernels, LAYERS);
      const start = room.sequence(inputs[0]!);
      feed(room, start, at - back, 70);
      const wrong = start.clone(inputs[1]);
      start.pages.dispose();
      feed(room, wrong, at, 16); // tokens that are not the sequence's
      wrong.pages.rewind(at - back);
      const right = wrong.clone(inputs[0]);
      wrong.pages.dispose();
      feed(room, right, TOKENS, 30);
      expectRows(right, whole[0]!, 0, TOKENS);
    }
  });

  it('goes, strays, rewinds, clones and failed steps in any order end as one run', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            act: fc.constantFrom('go', 'rewind', 'clone', 'fail', 'stray'),
            n: fc.integer({ min: 1, max: REWIND_TOKENS }),
          }),
          { maxLength: 25 },
        ),
        (acts) => {
          const room = new Room(kernels, LAYERS);
          let s = room.sequence(inputs[0]!);
          const kept: Sequence[] = [];
          for (const { act, n } of acts) {
            const room4 = Math.min(n, TOKENS - s.length);
            if (act === 'go' && room4 > 0) room.step([[s, room4]]);
            if (act === 'fail' && room4 > 0) room.step([[s, room4]], (op, layer) => op === 'attend' && layer === 2);
            if (act === 'rewind') s.pages.rewind(Math.max(s.length - n, s.pages.shortest));
            if (act === 'stray' && room4 > 0) {
              const other = s.clone(inputs[1]);
              room.step([[other, room4]]);
              other.pages.dispose();
            }
            if (act === 'clone') {
              kept.push(s);
              s = s.clone();
            }
          }
          for (const one of [s, ...kept]) {
            feed(room, one, TOKENS, 64);
            expectRows(one, whole[0]!, 0, TOKENS);
            one.pages.dispose();
          }
          for (const { used } of Object.values(room.pool.counts)) expect(used).toBe(0);
        },
      ),
      { numRuns: 8, seed: 3 },
    );
  });
});
