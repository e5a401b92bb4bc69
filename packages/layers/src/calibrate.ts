import type { ModelConfig } from '@megamoe/checkpoint';
import { checkInteger, checkObject, newArray } from '@megamoe/core';
import type { Backend, Tensor } from '@megamoe/ops';
import type { Probe } from './probe';
import type { Workspace } from './workspace';

/** Largest input magnitude of each expert of one layer, for its two GEMMs (gate and up share theirs); 0 where no token went. */
export interface ExpertAmax {
  readonly w13: Float32Array;
  readonly w2: Float32Array;
}

// Far beyond any model.
const MAX_LAYERS = 2 ** 16;
const MAX_EXPERTS = 2 ** 20;

/** Records, over any number of steps, the range of what every expert is given: what `input_scale` is made of. */
export class ExpertRanges {
  /** One entry for each layer, `w13` and `w2` [E]. */
  readonly layers: readonly ExpertAmax[];

  constructor(private readonly config: ModelConfig) {
    const fn = 'ExpertRanges';
    checkObject(fn, 'config', config);
    const { numHiddenLayers, numExperts } = config;
    checkInteger(fn, 'config.numHiddenLayers', numHiddenLayers, 0, MAX_LAYERS);
    checkInteger(fn, 'config.numExperts', numExperts, 0, MAX_EXPERTS);
    const zeros = (): Float32Array => newArray(fn, 'layers', Float32Array, 'numExperts', numExperts);
    this.layers = Array.from({ length: numHiddenLayers }, () => ({ w13: zeros(), w2: zeros() }));
  }

  /** What looks on while a step of a backend runs. */
  probe(backend: Backend): Probe {
    return { experts: (layer, ws, slots) => this.#record(backend, layer, ws, slots) };
  }

  #record(backend: Backend, layer: number, ws: Workspace, slots: number): void {
    const { numExperts, hiddenSize: d, moeIntermediateSize: i, swigluLimit: limit } = this.config;
    const ends = new Int32Array(numExperts);
    backend.download(ws.expertOffsets, 0, numExperts, ends, 0);
    const rowOf = new Int32Array(slots);
    backend.download(ws.slotToken, 0, slots, rowOf, 0);
    const { w13, w2 } = this.layers[layer]!;
    const rows = rowOf.reduce((a, b) => Math.max(a, b), -1) + 1;
    widen(w13, read(backend, ws.normed, rows * d), d, ends, (slot) => rowOf[slot]!);
    // The step makes these floats and quantizes them in one pass: here they are made once more, for this look alone.
    const hidden = backend.alloc('f32', [slots, i]);
    backend.swiglu({ gateUp: ws.gateUp, rows: slots, i, limit, out: hidden });
    widen(w2, read(backend, hidden, slots * i), i, ends, (slot) => slot);
    hidden.dispose();
  }
}

function read(backend: Backend, x: Tensor, n: number): Float32Array {
  const out = new Float32Array(n);
  backend.download(x, 0, n, out, 0);
  return out;
}

/** Takes the rows [*, k] of each expert's slots into its largest magnitude. */
function widen(
  amax: Float32Array,
  x: Float32Array,
  k: number,
  ends: Int32Array,
  rowOf: (slot: number) => number,
): void {
  for (let e = 0, slot = 0; e < ends.length; e++) {
    for (; slot < ends[e]!; slot++) {
      const at = rowOf(slot) * k;
      for (let i = at; i < at + k; i++) {
        const a = Math.abs(x[i]!);
        if (a > amax[e]!) amax[e] = a;
      }
    }
  }
}
