/** The mixture of experts: each chosen expert's gate, up and down projections, weighted and added. */
import {
  checkFinite,
  checkFunction,
  checkInteger,
  checkMultiple,
  checkObject,
  checkOneOf,
  checkPositive,
  ValueError,
} from '@megamoe/core';
import { checkScale, result, takeNumbers, takeSizes } from './arguments';
import { gatherRows, linear } from './linear';
import { toFloat64, type Numbers } from './numbers';
import { nvfp4RowDecodeScales, roundTripNvfp4 } from './nvfp4';
import { swiglu } from './swiglu';

const ACTIVATIONS = ['float', 'nvfp4', 'nvfp4-dynamic'] as const;

/** Throws unless it is one of {@link Activations}, and the widths `sizes` of inputs hold whole blocks where these are quantized. */
export function checkActivations(fn: string, activations: Activations, sizes: Readonly<Record<string, number>>): void {
  checkOneOf(fn, 'activations', activations, ACTIVATIONS);
  if (activations === 'float') return;
  for (const [name, size] of Object.entries(sizes)) checkMultiple(fn, name, size, 16);
}

/**
 * What an expert's inputs go through before each product: nothing (`float`); NVFP4 with the checkpoint's `input_scale`
 * (`nvfp4`); NVFP4 with each row's own `amax / (6 * 448)` (`nvfp4-dynamic`).
 */
export type Activations = (typeof ACTIVATIONS)[number];

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

/** The input `x` [M, width] of a product, as its kernel sees it; `arg` says for a message what it is. */
function quantizedInput(
  { fn, activations }: TakenShape,
  arg: string,
  x: Float64Array,
  k: number,
  inputScale: number | undefined,
): Float64Array {
  if (activations === 'float') return x;
  checkFinite(fn, arg, Float32Array.from(x));
  const shape = { m: x.length / k, k };
  return roundTripNvfp4(x, {
    ...shape,
    globalDecodeScale: activations === 'nvfp4' ? inputScale! : nvfp4RowDecodeScales(x, shape),
  });
}

interface TakenShape extends Required<ExpertShape> {
  /** Of the function that was called. */
  readonly fn: string;
}

function takeExpertShape(fn: string, shape: ExpertShape): TakenShape {
  const { d, i } = takeSizes(fn, 'shape', shape, 'd', 'i');
  const { swigluLimit, activations = 'float' } = shape;
  checkInteger(fn, 'd', d, 1);
  checkInteger(fn, 'i', i, activations === 'float' ? 0 : 1);
  checkPositive(fn, 'swigluLimit', swigluLimit);
  checkActivations(fn, activations, { d, i });
  return { fn, d, i, swigluLimit, activations };
}

/** An expert, read once; its scales are numbers above 0 where they are needed. */
function takeExpert({ fn, d, i, activations }: TakenShape, expert: Expert): Expert {
  checkObject(fn, 'expert', expert);
  const { w1, w3, w2, w13InputScale, w2InputScale } = expert;
  if (activations === 'nvfp4') {
    for (const [arg, scale] of Object.entries({ w13InputScale, w2InputScale })) {
      if (scale === undefined) throw new ValueError(`${fn}: "${arg}" is needed for activations nvfp4`);
      checkScale(fn, arg, scale);
    }
  }
  return {
    w1: takeNumbers(fn, 'expert.w1', w1, ['I*D', i * d]),
    w3: takeNumbers(fn, 'expert.w3', w3, ['I*D', i * d]),
    w2: takeNumbers(fn, 'expert.w2', w2, ['D*I', d * i]),
    w13InputScale,
    w2InputScale,
  };
}

/** `w2 . swiglu(w1 . x, w3 . x)` for rows `x` [M, D], [M, D]. */
export function expertForward(values: Numbers, expert: Expert, shape: ExpertShape): Float64Array {
  const fn = 'expertForward';
  const own = takeExpertShape(fn, shape);
  const weights = takeExpert(own, expert);
  const x = takeNumbers(fn, 'x', values);
  checkMultiple(fn, 'x.length', x.length, own.d);
  return forward(toFloat64(x), weights, own);
}

function forward(x: Float64Array, expert: Expert, shape: TakenShape): Float64Array {
  const { d, i, swigluLimit } = shape;
  const m = x.length / d;
  const input = quantizedInput(shape, 'x', x, d, expert.w13InputScale);
  const gate = linear(input, expert.w1, { m, n: i, k: d });
  const up = linear(input, expert.w3, { m, n: i, k: d });
  const gateUp = new Float64Array(m * 2 * i);
  for (let row = 0; row < m; row++) {
    gateUp.set(gate.subarray(row * i, (row + 1) * i), row * 2 * i);
    gateUp.set(up.subarray(row * i, (row + 1) * i), row * 2 * i + i);
  }
  const hidden = swiglu(gateUp, { m, i, limit: swigluLimit });
  const hiddenInput = quantizedInput(shape, 'the values between the products', hidden, i, expert.w2InputScale);
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
export function mixtureOfExperts(values: Numbers, args: Mixture): Float64Array {
  const fn = 'mixtureOfExperts';
  const shape = takeExpertShape(fn, args);
  const { d } = shape;
  const { t, topk } = takeSizes(fn, 'args', args, 't', 'topk');
  const { expert, topkIds: given, topkWeights: factors } = args;
  checkFunction(fn, 'expert', expert);
  // Copies: `expert` is the caller's, and may do anything with what he has given.
  const x = new Float64Array(takeNumbers(fn, 'x', values, ['T*D', t * d]));
  const topkIds = new Float64Array(takeNumbers(fn, 'topkIds', given, ['T*topk', t * topk]));
  const topkWeights = new Float64Array(takeNumbers(fn, 'topkWeights', factors, ['T*topk', t * topk]));
  for (let at = 0; at < t * topk; at++) checkInteger(fn, `topkIds[${at}]`, topkIds[at]!, -1);
  const out = result(fn, 'T*D', t * d);
  const chosen = [...new Set(Array.from(topkIds))].filter((id) => id >= 0).sort((a, b) => a - b);
  for (const id of chosen) {
    const choices: number[] = [];
    for (let at = 0; at < t * topk; at++) if (topkIds[at] === id) choices.push(at);
    const tokens = choices.map((at) => Math.floor(at / topk));
    const y = forward(gatherRows(x, tokens, d), takeExpert(shape, expert(id)), shape);
    choices.forEach((at, row) => {
      for (let c = 0; c < d; c++) out[tokens[row]! * d + c]! += topkWeights[at]! * y[row * d + c]!;
    });
  }
  return out;
}
