import { expectBytes } from '@megamoe/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SequenceState, stateBytes } from '../src/index';
import type { LayerSpec, SavedState, StateMark } from '../src/index';
import { BACKENDS } from './backends';
import { makeInputs, makeOutputs, makeState, run, step } from './layer-run';

const SPECS: LayerSpec[] = [
  { ratio: 0, window: 5, headDim: 6 },
  { ratio: 4, window: 7, headDim: 8, indexHeadDim: 5 },
  { ratio: 128, window: 9, headDim: 6 },
];
const TOKENS = 290;

describe.each(BACKENDS)('SequenceState on $name', ({ kernels }) => {
  describe.each(SPECS)('ratio $ratio', (spec) => {
    const inputs = makeInputs(spec, { tokens: TOKENS, heads: 2, topk: 3, seed: 11 });
    const whole = run(kernels, inputs, [TOKENS]);
    const row = inputs.heads * spec.headDim;
    /** Runs from the state's position to `end` in chunks of `chunk` and compares with the whole run. */
    const goOn = (state: SequenceState, end: number, chunk: number): void => {
      const outputs = makeOutputs(inputs);
      const p0 = state.position;
      while (state.position < end) step(kernels, state, inputs, Math.min(chunk, end - state.position), outputs);
      expectBytes(outputs.out.subarray(p0 * row, end * row), whole.out.subarray(p0 * row, end * row));
    };
    /** Feeds `n` tokens that are not the sequence's. */
    const stray = (state: SequenceState, n: number): void => {
      const other = makeInputs(spec, { tokens: TOKENS, heads: 2, topk: 3, seed: 12 });
      for (let i = 0; i < n; i++) step(kernels, state, other, 1, makeOutputs(other));
    };

    it.each([0, 1, 6, 127, 130, 257])('clone at %i: both go on as one run, independently', (at) => {
      const state = makeState(inputs, 40);
      goOn(state, at, 40);
      const copy = state.clone();
      stray(state, 20);
      goOn(copy, TOKENS, 13);
      const again = makeState(inputs, 40);
      goOn(again, at, 40);
      stray(again.clone(), 20);
      goOn(again, TOKENS, 13);
    });
    it.each([0, 3, 128, 255])('save at %i survives structuredClone and other capacities', (at) => {
      const state = makeState(inputs, 40);
      goOn(state, at, 40);
      const saved = structuredClone(state.save());
      stray(state, 30);
      const other = makeState(inputs, 9, 77);
      stray(other, 33);
      other.restore(saved);
      expect(other.position).toBe(at);
      expect(other.save()).toEqual(saved);
      goOn(other, TOKENS, 9);
      state.restore(saved);
      goOn(state, TOKENS, 40);
    });
    it.each([0, 5, 130])('rewind to %i restores what was overwritten, again and again', (at) => {
      const state = makeState(inputs, 3); // a ring of window + 2 rows: 20 tokens go around it
      goOn(state, at, 3);
      const before = state.save();
      const mark = state.mark();
      for (const n of [1, 4, 20]) {
        stray(state, n);
        state.rewind(mark);
        expect(state.save()).toEqual(before);
      }
      goOn(state, TOKENS, 3);
    });
    it('a step that failed halfway can be undone', () => {
      const state = makeState(inputs, 4);
      goOn(state, 50, 4);
      const mark = state.mark();
      kernels.writeWindow(state.layers[0]!, inputs.kv, 0, 3, 50);
      expect(() => state.save()).toThrow('SequenceState.save: layer 0 has seen 53 tokens and the state 50');
      expect(() => state.mark()).toThrow('SequenceState.mark: layer 0 has seen 53');
      state.rewind(mark);
      goOn(state, TOKENS, 4);
    });
    it('marks, rewinds, clones and restores in any order end as one run', () => {
      fc.assert(
        fc.property(
          fc.array(
            fc.record({
              act: fc.constantFrom('go', 'stray', 'mark', 'clone', 'save'),
              n: fc.integer({ min: 1, max: 20 }),
            }),
            {
              maxLength: 12,
            },
          ),
          (acts) => {
            let state = makeState(inputs, 20, 300);
            for (const { act, n } of acts) {
              if (act === 'go') goOn(state, Math.min(TOKENS, state.position + n), n);
              if (act === 'stray' && state.position + n <= TOKENS) {
                const mark = state.mark();
                stray(state, n);
                state.rewind(mark);
              }
              if (act === 'mark') state.mark();
              if (act === 'clone') state = state.clone();
              if (act === 'save') state.restore(state.save());
            }
            goOn(state, TOKENS, 20);
          },
        ),
        { numRuns: 15, seed: 3 },
      );
    });
  });
});

describe('SequenceState', () => {
  const spec = { layers: SPECS, maxTokens: 300, maxChunk: 8 };
  /** Moves all layers of a state, as a step would. */
  const advance = (state: SequenceState, n: number): void => {
    for (const layer of state.layers) {
      layer.position += n;
      if (layer.compressor) layer.compressor.position += n;
      if (layer.indexer) layer.indexer.position += n;
    }
    state.position += n;
  };

  it('allocates what the spec says', () => {
    const state = new SequenceState(spec);
    const [swa, csa, hca] = state.layers;
    expect(state.layers.map((l) => [l.ringCap, l.ring.length])).toEqual([[12, 72], [14, 112], [16, 96]]); // prettier-ignore
    expect(swa!.compressor ?? swa!.indexer ?? csa!.indexer!.dim).toBe(5);
    expect([csa!.compressor!.width, csa!.compressor!.entries.length]).toEqual([16, 75 * 8]);
    expect([hca!.compressor!.width, hca!.compressor!.entries.length, hca!.indexer]).toEqual([6, 12, undefined]);
    let bytes = 0;
    for (const l of state.layers) {
      bytes += l.ring.byteLength;
      for (const c of [l.compressor, l.indexer]) {
        if (!c) continue;
        for (const a of [c.entries, c.partialKv, c.partialGate, c.overlapKv, c.overlapGate]) bytes += a.byteLength;
      }
    }
    expect(state.bytes).toBe(bytes);
    expect(stateBytes(state.spec)).toBe(bytes);
  });
  it('does not change with the object it was made from', () => {
    const layers = [{ ...SPECS[0]! }];
    const state = new SequenceState({ layers, maxTokens: 5, maxChunk: 2 });
    layers[0]!.window = 99;
    expect(state.clone().layers[0]!.window).toBe(5);
  });
  it('a mark stays good until the state is cut back below it', () => {
    const state = new SequenceState(spec);
    advance(state, 10);
    const at10 = state.mark();
    advance(state, 10);
    const at20 = state.mark();
    advance(state, 10);
    state.rewind(at20);
    state.rewind(at10);
    expect(() => state.rewind(at20)).toThrow(
      'SequenceState.rewind: "mark" at position 20 is outdated: the state was cut back to position 10 after it was made',
    );
    advance(state, 30);
    const at40 = state.mark();
    state.rewind(at10);
    state.rewind(at10);
    expect(() => state.rewind(at40)).toThrow('outdated');
    state.restore(state.save());
    expect(() => state.rewind(at10)).toThrow('"mark" is outdated: the state was restored after it was made');
    const fresh = state.mark();
    state.rewind(fresh);
    expect(state.position).toBe(10);
  });
  it('refuses marks that are not its own', () => {
    const state = new SequenceState(spec);
    const message = 'SequenceState.rewind: "mark" must be one that this state made';
    expect(() => state.rewind(new SequenceState(spec).mark())).toThrow(message);
    expect(() => state.rewind({ position: 0 } as StateMark)).toThrow(message);
  });
  it.each<[string, (s: SavedState) => unknown, string]>([
    ['another format', (s) => ({ ...s, format: 'x' }), '"saved" must be a megamoe-sequence of version 1, got x 1'],
    [
      'another version',
      (s) => ({ ...s, version: 2 }),
      '"saved" must be a megamoe-sequence of version 1, got megamoe-sequence 2',
    ],
    ['a negative position', (s) => ({ ...s, position: -1 }), '"saved.position" must be an integer at least 0, got -1'],
    ['too long a sequence', (s) => ({ ...s, position: 301 }), '"saved" has 301 tokens, more than maxTokens = 300'],
    ['fewer layers', (s) => ({ ...s, layers: s.layers.slice(1) }), '"saved.layers" must have length layers = 3, got 2'],
    [
      'layers in another order',
      (s) => ({ ...s, layers: [...s.layers].reverse() }),
      '"saved.layers[0].ratio" must be 0, got 128',
    ],
    ['another window', (s) => change(s, 1, { window: 6 }), '"saved.layers[1].window" must be 7, got 6'],
    ['another head', (s) => change(s, 1, { headDim: 9 }), '"saved.layers[1].headDim" must be 8, got 9'],
    ['another indexer', (s) => change(s, 1, { indexHeadDim: 4 }), '"saved.layers[1].indexHeadDim" must be 5, got 4'],
    [
      'a short ring',
      (s) => change(s, 0, { ring: new Float32Array(3) }),
      '"saved.layers[0].ring" must have length min(position, window-1)*headDim = 24, got 3',
    ],
    [
      'a ring of another kind',
      (s) => change(s, 0, { ring: new Float64Array(24) }),
      '"saved.layers[0].ring" must be a Float32Array, got Float64Array',
    ],
    ['no compressor', (s) => change(s, 2, { compressor: undefined }), '"saved.layers[2].compressor" is missing'],
    [
      'fewer entries',
      (s) => change(s, 1, { compressor: { ...s.layers[1]!.compressor, entries: new Float32Array(1) } }),
      '"saved.layers[1].compressor.entries" must have length floor(position/ratio)*dim = 16, got 1',
    ],
    [
      'a wrong open window',
      (s) => change(s, 1, { indexer: { ...s.layers[1]!.indexer, partialGate: new Float32Array(1) } }),
      '"saved.layers[1].indexer.partialGate" must have length (position%ratio)*width = 20, got 1',
    ],
    [
      'no overlap',
      (s) => change(s, 1, { compressor: { ...s.layers[1]!.compressor, overlapKv: new Float32Array(0) } }),
      '"saved.layers[1].compressor.overlapKv" must have length ratio*dim = 32, got 0',
    ],
  ])('restore refuses %s and changes nothing', (_, spoil, message) => {
    const state = new SequenceState(spec);
    advance(state, 10);
    state.layers[0]!.ring.fill(3);
    const saved = state.save();
    expect(() => state.restore(spoil(saved) as SavedState)).toThrow(`SequenceState.restore: ${message}`);
    expect(state.save()).toEqual(saved);
  });
  it.each<[string, object, string]>([
    ['maxTokens 0', { maxTokens: 0 }, '"maxTokens" must be an integer in [1, 2147483646], got 0'],
    ['maxChunk NaN', { maxChunk: NaN }, '"maxChunk" must be an integer in [1, 1073741824], got NaN'],
    ['ratio 8', { layers: [{ ratio: 8, window: 1, headDim: 1 }] }, '"layers[0].ratio" must be one of 0, 4, 128, got 8'],
    [
      'window 0',
      { layers: [SPECS[0], { ratio: 0, window: 0, headDim: 1 }] },
      '"layers[1].window" must be an integer in',
    ],
    ['headDim 0', { layers: [{ ratio: 0, window: 1, headDim: 0 }] }, '"layers[0].headDim" must be an integer in'],
    [
      'CSA without indexer',
      { layers: [{ ratio: 4, window: 1, headDim: 1 }] },
      '"layers[0].indexHeadDim" must be an integer in [1, 65536], got NaN',
    ],
    [
      'HCA with indexer',
      { layers: [{ ratio: 128, window: 1, headDim: 1, indexHeadDim: 2 }] },
      '"layers[0].indexHeadDim" belongs to ratio 4 only, got 2 with ratio 128',
    ],
  ])('refuses %s', (_, change, message) => {
    expect(() => new SequenceState({ ...spec, ...change })).toThrow(`SequenceState: ${message}`);
  });
});

function change(saved: SavedState, layer: number, fields: object): unknown {
  return { ...saved, layers: saved.layers.map((l, i) => (i === layer ? { ...l, ...fields } : l)) };
}
