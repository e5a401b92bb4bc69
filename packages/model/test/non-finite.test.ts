/** A value that is not finite is an error that names where it came from, and harms nobody else in the step. */
import {
  observed,
  overlaid,
  type Backend,
  type HostTensor,
  type Observer,
  type StepRows,
  type Tensor,
} from '@megamoe/ops';
import { expectBytes } from '@megamoe/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createBackend, loadModel, StepError, Trace, type Model } from '../src/index';
import { BACKENDS, MICRO_FLASH } from './support';

/** The token that goes wrong. */
const BAD = 11;
/** Three sequences; the second one ends with it. */
const IDS = [
  [3, 5],
  [7, BAD],
  [2, 4],
];

type Op = 'embed' | 'linear' | 'rmsNorm' | 'attend' | 'scatterExperts' | 'add' | 'hcPost' | 'hcHead';

/** A value planted in what an operation of a layer makes of rows with the token {@link BAD}; `weight`: of which product. */
interface Plant {
  readonly op: Op;
  readonly layer: number;
  readonly block?: 'attention' | 'experts';
  readonly weight?: string;
  readonly value: number;
}

/** Where each operation writes. */
const outputs: Readonly<Record<Op, (args: never) => Tensor>> = {
  embed: (a: { out: Tensor }) => a.out,
  linear: (a: { out: Tensor }) => a.out,
  rmsNorm: (a: { out: Tensor }) => a.out,
  attend: (a: { out: Tensor }) => a.out,
  scatterExperts: (a: { out: Tensor }) => a.out,
  add: (a: { out: Tensor }) => a.out,
  hcPost: (a: { streams: Tensor }) => a.streams,
  hcHead: (a: { out: Tensor }) => a.out,
};

/** A model on a backend that does what `plant` says. */
async function planted(name: (typeof BACKENDS)[number]): Promise<{ model: Model; set: (plant: Plant | null) => void }> {
  let plant: Plant | null = null;
  let rows: StepRows;
  const inner = createBackend({ backend: name });
  const observer = Object.fromEntries(
    Object.entries(outputs).map(([op, output]) => [
      op,
      (args: never, run: () => void) => {
        run();
        const p = plant;
        const { layer, block } = model.place;
        if (p?.op !== op || p.layer !== layer || (p.block ?? block) !== block) return;
        if (p.weight !== undefined && (args as { w: { name: string } }).w.name !== p.weight) return;
        const x = output(args) as HostTensor<'f32'>;
        const width = x.length / x.shape[0]!;
        // The head takes the wanted rows alone.
        const of = p.weight === 'head' ? [...rows.wantedRows.subarray(0, rows.wanted)] : [...Array(rows.rows).keys()];
        of.forEach((row, i) => {
          if (rows.ids[row] === BAD) x.data[i * width + (width >> 1)] = p.value;
        });
      },
    ]),
  ) as Observer;
  const backend: Backend = overlaid(observed(inner, observer), {
    planStep(step, planned, cache, rope) {
      rows = planned;
      inner.planStep(step, planned, cache, rope);
    },
  });
  const model = await loadModel(MICRO_FLASH, { backend });
  return { model, set: (p) => (plant = p) };
}

const CASES: readonly [Plant, string][] = [
  [{ op: 'embed', layer: -1, value: NaN }, 'embed'],
  [{ op: 'linear', layer: 2, weight: 'layers.2.attn.wkv', value: NaN }, 'kv of layer 2'],
  [{ op: 'attend', layer: 1, value: NaN }, 'attn_context of layer 1'],
  [{ op: 'linear', layer: 3, weight: 'layers.3.attn.wo_b', value: Infinity }, 'attn_out of layer 3'],
  [{ op: 'linear', layer: 5, weight: 'layers.5.ffn.gate', value: -Infinity }, 'router_logits of layer 5'],
  [{ op: 'scatterExperts', layer: 0, value: NaN }, 'experts_out of layer 0'],
  [{ op: 'linear', layer: 5, weight: 'layers.5.ffn.shared_experts.w2', value: NaN }, 'shared_experts_out of layer 5'],
  [{ op: 'add', layer: 5, value: Infinity }, 'ffn_out of layer 5'],
  [{ op: 'hcPost', layer: 3, block: 'attention', value: NaN }, 'attn_streams of layer 3'],
  [{ op: 'hcPost', layer: 5, block: 'experts', value: NaN }, 'streams of layer 5'],
  [{ op: 'hcHead', layer: -1, value: NaN }, 'hc_head'],
  [{ op: 'rmsNorm', layer: -1, value: NaN }, 'final_norm'],
  [
    { op: 'linear', layer: -1, weight: 'head', value: -Infinity },
    'the head (when the step was run again, nothing before it did)',
  ],
];

describe.each(BACKENDS)('%s', (name) => {
  let model: Model;
  let set: (plant: Plant | null) => void;
  beforeAll(async () => ({ model, set } = await planted(name)));
  afterAll(() => model.dispose());

  const items = (): { sequence: ReturnType<Model['createSequence']>; tokenIds: number[] }[] =>
    IDS.map((tokenIds) => ({ sequence: model.createSequence(), tokenIds }));
  const caught = (run: () => unknown): Error => {
    try {
      run();
    } catch (error) {
      return error as Error;
    }
    throw new Error('nothing was thrown');
  };

  it.each(CASES)('%o in one row of three: that row alone fails, with the place', (plant, place) => {
    const v = model.config.vocabSize;
    set(null);
    const right = model.forward(items());
    for (const logits of ['last', 'all', 'none'] as const) {
      if (logits === 'none' && plant.weight === 'head') continue; // the head is not run
      set(plant);
      const batch = items();
      const error = caught(() => model.forward(batch, { logits })) as StepError;
      expect(error).toBeInstanceOf(StepError);
      expect(error.failures.map(({ item }) => item)).toEqual([1]);
      const own = error.failures[0]!.error as Error & { code: string };
      expect(own.code).toBe('ERR_VALUE');
      expect(own.message).toMatch(
        /^Model\.forward: the (logits|hidden states) of batch item 1 are not finite \(\S+( or Infinity)? at token 1\): the first operation that made one is /,
      );
      expect(own.message.endsWith(`made one is ${place}`)).toBe(true);
      expect(batch.map(({ sequence }) => sequence.length)).toEqual([2, 0, 2]);
      const rows = logits === 'last' ? [0, 2] : logits === 'all' ? [1, 5] : [];
      for (const [i, row] of rows.entries()) {
        expectBytes(error.logits.subarray(row * v, (row + 1) * v), right.subarray(2 * i * v, (2 * i + 1) * v));
      }
      // The sequence is as it was: the step can be done again.
      set(null);
      const again = model.forward([batch[1]!]);
      expectBytes(again, right.subarray(v, 2 * v));
    }
  });

  it('alone it is that error itself, in a later step too, and a trace goes on working', () => {
    const sequence = model.createSequence();
    set(null);
    model.forward([{ sequence, tokenIds: [3, 5, 7] }]);
    set({ op: 'add', layer: 5, value: NaN });
    expect(caught(() => model.forward([{ sequence, tokenIds: [1, BAD] }], { trace: new Trace() })).message).toBe(
      'Model.forward: the logits of batch item 0 are not finite (NaN at token 4): the first operation that made one is ffn_out of layer 5',
    );
    expect(sequence.length).toBe(3);
    set(null);
    const trace = new Trace();
    model.forward([{ sequence, tokenIds: [1, BAD] }], { trace });
    expect(trace.tensors().get('layers.5.ffn_out')!.shape).toEqual([2, model.config.hiddenSize]);
    expect(
      [...trace.tensors().keys()].filter((key) => /kv$|embed|norm/.test(key) && !key.endsWith('compressed_kv')),
    ).toEqual(['final_norm']);
  });

  it('a row whose logits nobody wants is looked at too: no state is kept that holds such values', () => {
    const sequence = model.createSequence();
    set({ op: 'hcPost', layer: 5, block: 'experts', value: Infinity });
    expect(caught(() => model.forward([{ sequence, tokenIds: [BAD, 1, 2] }])).message).toMatch(
      / \(NaN or Infinity at token 0\): the first operation that made one is streams of layer 5$/,
    );
    expect(sequence.length).toBe(0);
    set(null);
  });

  it('what went into a compressed key is found at the projection that made it', () => {
    const sequence = model.createSequence();
    set({ op: 'linear', layer: 4, weight: 'layers.4.attn.compressor.wkv', value: NaN });
    // Four tokens make a key.
    expect(caught(() => model.forward([{ sequence, tokenIds: [1, BAD, 2, 3, 4] }])).message).toMatch(
      / the first operation that made one is compressor_kv of layer 4$/,
    );
    set(null);
  });

  it('generations beside it go on', async () => {
    set(null);
    const run = async (tokenIds: number[]): Promise<number[]> => {
      const ids: number[] = [];
      for await (const chunk of model.generate({ tokenIds, maxTokens: 4, ignoreEos: true })) {
        if (chunk.tokenId !== undefined) ids.push(chunk.tokenId);
      }
      return ids;
    };
    const alone = await run([3, 5]);
    set({ op: 'linear', layer: 2, weight: 'layers.2.attn.wkv', value: NaN });
    const [good, bad] = await Promise.allSettled([run([3, 5]), run([7, BAD])]);
    set(null);
    if (!alone.includes(BAD)) expect(good).toEqual({ status: 'fulfilled', value: alone });
    expect(bad.status).toBe('rejected');
    expect(String((bad as PromiseRejectedResult).reason)).toMatch(
      /the first operation that made one is kv of layer 2$/,
    );
  });
});
