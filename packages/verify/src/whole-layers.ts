import type { WeightSource } from '@megamoe/layers';
import type { KvDtype } from '@megamoe/ops';
import * as reference from '@megamoe/reference';
import { wholeLayer } from './bounds';
import { matrixValues } from './decode';
import type { Recorder } from './recorder';

/** Collects what went into every layer and what came out, token by token, for the first sequence of each step. */
export class LayerTap {
  /** Rows of that sequence in the running step. */
  rows = 0;
  readonly #ins = new Map<number, Float32Array[]>();
  readonly #outs = new Map<number, Float32Array[]>();

  /** Streams [rows, width] before a layer. */
  before(layer: number, streams: Float32Array, width: number): void {
    this.#note(this.#ins, layer, streams, width);
  }

  /** And after it. */
  after(layer: number, streams: Float32Array, width: number): void {
    this.#note(this.#outs, layer, streams, width);
  }

  /** Everything of a layer, or undefined when it never ran. */
  of(layer: number): { input: Float32Array; output: Float32Array } | undefined {
    const [ins, outs] = [this.#ins.get(layer), this.#outs.get(layer)];
    return ins && outs ? { input: joined(ins), output: joined(outs) } : undefined;
  }

  #note(to: Map<number, Float32Array[]>, layer: number, streams: Float32Array, width: number): void {
    const parts = to.get(layer) ?? [];
    parts.push(streams.slice(0, this.rows * width));
    to.set(layer, parts);
  }
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Weights as the oracle asks for them, straight from the source: not by way of what was packed. */
export function sourceReader(source: WeightSource): reference.WeightReader {
  const { numExperts } = source.config;
  const volume = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
  const inputScales = new Map<string, number>();
  /** An expert's own scale; w1 and w3 share the larger; an expert that calibration never reached gets the projection's largest. */
  const inputScale = (layer: number, expert: number, matrix: 'w1' | 'w2'): number => {
    const key = `${layer} ${expert} ${matrix}`;
    const known = inputScales.get(key);
    if (known !== undefined) return known;
    const scaleOf = (e: number): number =>
      Math.max(
        ...(matrix === 'w1' ? (['w1', 'w3'] as const) : (['w2'] as const)).map((m) => {
          const t = source.expert(layer, e, m);
          return t.format === 'nvfp4' ? (t.inputGlobalDecodeScale ?? 0) : 0;
        }),
      );
    const own = scaleOf(expert);
    const scale = own > 0 ? own : Math.max(...Array.from({ length: numExperts }, (_, e) => scaleOf(e)));
    inputScales.set(key, scale);
    return scale;
  };
  return (name, shape) => {
    const expert = /^layers\.(\d+)\.ffn\.experts\.(\d+)\.(w[123])\.(\w+)$/.exec(name);
    if (expert) {
      const [layer, e] = [Number(expert[1]), Number(expert[2])];
      const matrix = expert[3] as 'w1' | 'w2' | 'w3';
      if (expert[4] === 'input_scale') return [inputScale(layer, e, matrix as 'w1' | 'w2')];
      return matrixValues(source.expert(layer, e, matrix));
    }
    if (name.endsWith('.tid2eid')) return source.ints(name, shape);
    if (shape.length === 2 && name.endsWith('.weight'))
      return matrixValues(source.linear(name.replace(/\.weight$/, ''), shape[0]!, shape[1]!));
    return source.vector(name, volume(shape));
  };
}

/** What the routed experts' inputs go through, as the model was loaded. */
export function expertActivations(
  source: WeightSource,
  activations: 'nvfp4' | 'float',
  staticScales: boolean,
): reference.Activations {
  if (activations === 'float') return 'float';
  const { numExperts } = source.config;
  const first = source.expert(0, 0, 'w1');
  if (first.format !== 'nvfp4') return 'float';
  if (!staticScales) return 'nvfp4-dynamic';
  const calibrated = Array.from({ length: numExperts }, (_, e) => source.expert(0, e, 'w1'));
  return calibrated.some((t) => t.format === 'nvfp4' && t.inputGlobalDecodeScale !== undefined)
    ? 'nvfp4'
    : 'nvfp4-dynamic';
}

/** What whole layers are checked with. */
export interface LayerCheck {
  readonly recorder: Recorder;
  readonly tap: LayerTap;
  readonly weights: reference.WeightReader;
  readonly config: reference.ReferenceConfig;
  readonly tokenIds: readonly number[];
  readonly activations: reference.Activations;
  readonly kv: KvDtype;
}

/**
 * One layer as a whole, on the streams that the backend had before it: finds what no single operation can show, as a step left out, a wrong
 * weight, or a table of another layer.
 */
export function checkLayer(o: LayerCheck, layer: number): void {
  const { recorder, tap, weights, config, tokenIds, activations, kv } = o;
  const streams = tap.of(layer);
  if (!streams) return;
  const { hcMult: hc, hiddenSize: d } = config;
  const tokens = streams.output.length / (hc * d);
  const input = streams.input.subarray(0, streams.output.length);
  const want = reference.referenceLayer(config, weights, layer, input, tokenIds.slice(0, tokens), {
    activations,
    kv: kv === 'bf16' ? 'bf16' : 'float',
  });
  const bound = wholeLayer(activations !== 'float', kv);
  recorder.take({ layer, op: 'layer', operation: null }, [
    { output: 'streams', got: streams.output, want, shape: [tokens, hc, d], bound },
  ]);
}
