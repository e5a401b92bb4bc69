import type { ExpertScales, ExpertTensor, LinearTensor, ModelConfig, ReadBuffers } from '@megamoe/checkpoint';

/** A routed expert's matrix: w1 (gate) and w3 (up) [I, D], w2 (down) [D, I]. */
export type ExpertMatrix = 'w1' | 'w2' | 'w3';

/** Where weights come from, by DeepSeek's names: an open checkpoint, or anything that makes them. */
export interface WeightSource {
  readonly config: ModelConfig;
  /** A dense matrix [n, k], as in `layers.0.attn.wq_a`. */
  linear(module: string, n: number, k: number): LinearTensor;
  /** Some rows of it: where a source has this, no dense matrix is ever whole in memory beside its packed form. */
  linearRows?(
    module: string,
    n: number,
    k: number,
    row0: number,
    rows: number,
    /** Memory that the result may lie in: it is packed before these are used again. */
    buffers?: ReadBuffers,
  ): LinearTensor;
  /** A routed expert's matrix. `buffers` as above. */
  expert(layer: number, expert: number, matrix: ExpertMatrix, buffers?: ReadBuffers): ExpertTensor;
  /** The same without its data; a source that has this can leave experts where they are until they are needed. */
  expertScales?(layer: number, expert: number, matrix: ExpertMatrix): ExpertScales;
  /** The E8M0 scales of an expert's matrix in MXFP4, without its codes; undefined for other formats. */
  expertE8m0?(layer: number, expert: number, matrix: ExpertMatrix): Uint8Array | undefined;
  /** A tensor that is never quantized, float32. */
  vector(name: string, length: number): Float32Array;
  /** An integer tensor, as in `layers.0.ffn.gate.tid2eid`. */
  ints(name: string, shape: readonly number[]): Int32Array;
}
