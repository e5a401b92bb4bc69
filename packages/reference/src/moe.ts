/** The mixture of experts: each chosen expert's gate, up and down projections, weighted and added. */
import { checkInteger, checkLength, ValueError } from '@megamoe/core';
import { gatherRows, linear } from './linear';
import { toFloat64, type Numbers } from './numbers';
import { nvfp4RowDecodeScales, roundTripNvfp4 } from './nvfp4';
import { swiglu } from './swiglu';

/**
 * What an expert's inputs go through before each product: nothing (`float`); NVFP4 with the checkpoint's `input_scale`
 * (`nvfp4`); NVFP4 with each row's own `amax / (6 * 448)` (`nvfp4-dynamic`).
 */
export type Activations = 'float' | 'nvfp4' | 'nvfp4-dynamic';

/** One expert, its weights as numbers (an NVFP4 weight dequantized). */
export interface Expert {
  /** [I, D] gate. */
  readonly w1: Numbers;
  /** [I, D] up. */
  readonly w3: Numbers;
  /** [D, I] down. */
  readonly w2: Numbers;
  /** Global decode scale of the input of w1 and w3; needed for `nvfp4`. */
  readonly w13InputScale?: number | undefined;
  /** Global decode scale of the input of w2; needed for `nvfp4`. */
  readonly w2InputScale?: number | undefined;
}

/** Shape of an expert. */
export interface ExpertShape {
  readonly d: number;
  readonly i: number;
  readonly swigluLimit: number;
  readonly activations?: Activations;
}

function quantizedInput(
  x: Float64Array,
  m: number,
  k: number,
  activations: Activations,
  inputScale: number | undefined,
  arg: string,
): Float64Array {
  if (activations === 'float') return x;
  if (activations === 'nvfp4-dynamic') {
    return roundTripNvfp4(x, { m, k, globalDecodeScale: nvfp4RowDecodeScales(x, { m, k }) });
  }
  if (inputScale === undefined) throw new ValueError(`expertForward: "${arg}" is needed for activations nvfp4`);
  return roundTripNvfp4(x, { m, k, globalDecodeScale: inputScale });
}

/** `w2 . swiglu(w1 . x, w3 . x)` for rows `x` [M, D], [M, D]. */
export function expertForward(x: Numbers, expert: Expert, shape: ExpertShape): Float64Array {
  const { d, i, swigluLimit, activations = 'float' } = shape;
  checkInteger('expertForward', 'd', d, 1);
  const m = x.length / d;
  checkLength('expertForward', 'x', x, 'M*D', Math.floor(m) * d);
  const input = quantizedInput(toFloat64(x), m, d, activations, expert.w13InputScale, 'w13InputScale');
  const gate = linear(input, expert.w1, { m, n: i, k: d });
  const up = linear(input, expert.w3, { m, n: i, k: d });
  const gateUp = new Float64Array(m * 2 * i);
  for (let row = 0; row < m; row++) {
    gateUp.set(gate.subarray(row * i, (row + 1) * i), row * 2 * i);
    gateUp.set(up.subarray(row * i, (row + 1) * i), row * 2 * i + i);
  }
  const hidden = swiglu(gateUp, { m, i, limit: swigluLimit });
  const hiddenInput = quantizedInput(hidden, m, i, activations, expert.w2InputScale, 'w2InputScale');
  return linear(hiddenInput, expert.w2, { m, n: d, k: i });
}

/** Arguments of {@link mixtureOfExperts}. */
export interface Mixture extends ExpertShape {
  readonly t: number;
  readonly topk: number;
  /** [T, topk] i32; -1 contributes nothing. */
  readonly topkIds: ArrayLike<number>;
  readonly topkWeights: Numbers;
  /** The expert of an id; asked once for each expert that some token chose. */
  readonly expert: (id: number) => Expert;
}

/** `out[t] = sum_j topkWeights[t, j] * expert(topkIds[t, j])(x[t])`, x and out [T, D]. Shared experts are not part of it. */
export function mixtureOfExperts(x: Numbers, args: Mixture): Float64Array {
  const { t, d, topk, topkIds, topkWeights, expert } = args;
  checkLength('mixtureOfExperts', 'x', x, 'T*D', t * d);
  checkLength('mixtureOfExperts', 'topkIds', topkIds, 'T*topk', t * topk);
  checkLength('mixtureOfExperts', 'topkWeights', topkWeights, 'T*topk', t * topk);
  const out = new Float64Array(t * d);
  const chosen = [...new Set(Array.from(topkIds))].filter((id) => id >= 0).sort((a, b) => a - b);
  for (const id of chosen) {
    const choices: number[] = [];
    for (let at = 0; at < t * topk; at++) if (topkIds[at] === id) choices.push(at);
    const tokens = choices.map((at) => Math.floor(at / topk));
    const y = expertForward(gatherRows(x, tokens, d), expert(id), args);
    choices.forEach((at, row) => {
      for (let c = 0; c < d; c++) out[tokens[row]! * d + c]! += topkWeights[at]! * y[row * d + c]!;
    });
  }
  return out;
}
