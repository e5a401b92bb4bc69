import {
  PagePool,
  pageKindsOf,
  SequencePages,
  StepRows,
  type CachePart,
  type LayerSpec,
  type PageKind,
} from '@megamoe/ops';
import type { AttentionKernels } from '../src/index';

/** A cache of one layer with one sequence at `length` tokens, and a step with its next `rows` tokens, planned. */
export function oneLayer(kernels: AttentionKernels, spec: LayerSpec, length: number, rows: number, ropeDim = 2) {
  const cache = kernels.createCache([spec]);
  const kinds = pageKindsOf([spec]);
  const pages = new SequencePages(new PagePool(kinds, spec.window, cache));
  const stepRows = new StepRows(Math.max(1, rows), kinds);
  const step = kernels.createStep(Math.max(1, rows));
  pages.open(length);
  pages.reserve(length + rows);
  if (rows > 0) stepRows.add(pages, new Int32Array(rows), 0, rows);
  kernels.planStep(step, stepRows, cache, kernels.createRope({ ropeDim, theta: 100 }));
  /** Where row `w` of a part lies. */
  const at = (part: CachePart, kind: PageKind, w: number): Float32Array => {
    const { data, shape } = cache.part(0, part) as unknown as { data: Float32Array; shape: readonly number[] };
    const row = stepRows.memoryRow(kind, 0, w);
    return data.subarray(row * shape[1]!, (row + 1) * shape[1]!);
  };
  return { cache, step, layer: 0, pages, stepRows, at };
}
