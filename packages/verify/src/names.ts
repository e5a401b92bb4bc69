import { weightNames, type ModelWeights, type Place, type Workspace } from '@megamoe/layers';
import type { OpName } from '@megamoe/ops';

/** Operations without a weight, by the buffer of the workspace that they work on. */
const BY_BUFFER: Readonly<Partial<Record<OpName, Readonly<Partial<Record<keyof Workspace, string>>>>>> = {
  rmsNorm: { q: 'attn.q_head_norm' },
  rope: { q: 'attn.q_rope', kv: 'attn.kv_rope', indexQ: 'attn.indexer.q_rope', attnOut: 'attn.out_rope' },
  swiglu: { sharedGateUp: 'ffn.shared.swiglu', gateUp: 'ffn.swiglu' },
  stage: { normed: 'ffn.w13.stage' },
  swigluStage: { gateUp: 'ffn.w2.stage' },
  add: { blockOut: 'ffn.add_shared' },
  gatherRows: { normed: 'head.rows' },
};

/** Names of what operations work on: weights by where they stand in the model, buffers by their field. */
export class Names {
  readonly #weights: ReadonlyMap<object, string>;
  readonly #buffers = new Map<unknown, keyof Workspace>();

  constructor(weights: ModelWeights, ws: Workspace) {
    this.#weights = weightNames(weights);
    for (const [field, buffer] of Object.entries(ws)) this.#buffers.set(buffer, field as keyof Workspace);
  }

  /** Of a weight within its layer, as in `attn.wq_a`, `hc_attn_fn`; undefined for what is none. */
  weight(weight: object): string | undefined {
    return this.#weights
      .get(weight)
      ?.replace(/^layers\.\d+\./, '')
      .replace(/\.weight$/, '');
  }

  /** Of an operation without a weight, by the buffer that it reads or changes; the list's own name where nobody knows it. */
  on(op: OpName, buffer: object): string {
    const field = this.#buffers.get(buffer);
    return (field && BY_BUFFER[op]?.[field]) ?? op;
  }
}

/** `layer` null before the layers and after them. */
export function layerOf({ layer }: Place): number | null {
  return layer < 0 ? null : layer;
}
