import { matrixToFloat32, type ExpertTensor, type Mxfp4Tensor } from '@megamoe/checkpoint';
import { checkOneOf, encodeBf16Array } from '@megamoe/core';
import type { WeightFormat, WeightRows } from '@megamoe/ops';
import { castMxfp4ToNvfp4, mxfp4MaxExponent } from '@megamoe/nvfp4-quant';
import type { ExpertMatrix, WeightSource } from './weight-source';

/** Exponents of an NVFP4 matrix reach from that of its largest block to this many below: E4M3 holds 2^8 to 2^-9. */
const EXPONENT_SPAN = 17;

/** How experts lie in a checkpoint. */
const STORED = ['f32', 'bf16', 'fp8', 'mxfp4', 'nvfp4'] as const satisfies readonly ExpertTensor['format'][];

/** How one expert GEMM of a layer is packed. */
export interface ExpertPacking {
  readonly format: WeightFormat;
  /** Inputs are never quantized: the checkpoint's experts have no say in it (MXFP4). */
  readonly floatInputs: boolean;
  /** Global decode scales [E * parts] of experts that become NVFP4; null for those that have their own. */
  readonly weightScale: Float32Array | null;
  /** What a person should know. */
  readonly warning: string | undefined;
}

/** Blocks of an MXFP4 matrix that cannot stand in NVFP4 beside its largest exponent, zero blocks aside. */
function blocksOutOfRange(e8m0: Uint8Array, codes: () => Uint8Array): number {
  let largest = 0;
  let smallest = 255;
  for (let i = 0; i < e8m0.length; i++) {
    const byte = e8m0[i]!;
    if (byte > largest) largest = byte;
    if (byte < smallest) smallest = byte;
  }
  if (largest - smallest <= EXPONENT_SPAN) return 0;
  const data = codes(); // a block of zeros may have any scale
  let count = 0;
  for (let i = 0; i < e8m0.length; i++) {
    if (largest - e8m0[i]! <= EXPONENT_SPAN) continue;
    let bits = 0;
    for (let j = 16 * i; j < 16 * i + 16; j++) bits |= data[j]! & 0x77;
    if (bits !== 0) count++;
  }
  return count;
}

/**
 * Decides how routed experts are packed, and remembers it: planning a load and loading must agree. MXFP4 becomes NVFP4 where that changes no
 * value: every matrix has an alpha of its own, so what counts is the span of exponents within a matrix. A layer with blocks beyond it is packed as
 * BF16, which holds them all.
 */
export class ExpertFormats {
  private readonly known = new Map<string, ExpertPacking>();

  constructor(private readonly source: WeightSource) {}

  /** Packing of the GEMM of matrices `names`, as ['w1', 'w3'], of a layer. `stored`: the format of its first expert. */
  packing(layer: number, names: readonly ExpertMatrix[], stored: ExpertTensor['format']): ExpertPacking {
    checkOneOf('ExpertFormats.packing', 'stored', stored, STORED);
    if (stored !== 'mxfp4') return { format: stored, floatInputs: false, weightScale: null, warning: undefined };
    const key = `${layer} ${names.join()}`;
    let packing = this.known.get(key);
    if (!packing) this.known.set(key, (packing = this.mxfp4(layer, names)));
    return packing;
  }

  private mxfp4(layer: number, names: readonly ExpertMatrix[]): ExpertPacking {
    const { source } = this;
    const experts = source.config.numExperts;
    const weightScale = new Float32Array(experts * names.length);
    let bad = 0;
    let blocks = 0;
    for (let expert = 0; expert < experts; expert++) {
      names.forEach((name, part) => {
        const whole = (): Mxfp4Tensor | undefined => {
          const t = source.expert(layer, expert, name);
          return t.format === 'mxfp4' ? t : undefined; // another format: packing will say so
        };
        const e8m0 = source.expertE8m0 ? source.expertE8m0(layer, expert, name) : whole()?.e8m0;
        if (!e8m0) return;
        blocks += e8m0.length;
        bad += blocksOutOfRange(e8m0, () => whole()!.codes);
        weightScale[expert * names.length + part] = 2 ** (mxfp4MaxExponent(e8m0) - 8);
      });
    }
    if (bad === 0) return { format: 'nvfp4', floatInputs: true, weightScale, warning: undefined };
    return {
      format: 'bf16',
      floatInputs: true,
      weightScale: null,
      warning:
        `layers.${layer}.ffn.experts ${names.join('/')}: ${bad} of ${blocks} MXFP4 blocks do not fit NVFP4 ` +
        `(more than ${EXPONENT_SPAN} powers of two below the largest of their matrix); the layer is packed as BF16, which takes 3.6 times the memory`,
    };
  }
}

/** The rows of an expert's matrix in the format that its layer is packed in; every value stays as it is. */
export function expertRows(t: ExpertTensor, format: WeightFormat): WeightRows {
  if (t.format === 'nvfp4') return { codes: t.codes, sf: t.sf };
  if (t.format === 'fp8') return { codes: t.codes, scales: t.scales };
  if (t.format !== 'mxfp4') return { data: t.data };
  if (format === 'bf16') return { data: encodeBf16Array(matrixToFloat32(t)) };
  const { codes, sf } = castMxfp4ToNvfp4(t.codes, t.e8m0, {
    m: t.n,
    k: t.k,
    maxExponent: mxfp4MaxExponent(t.e8m0),
  });
  return { codes, sf };
}
