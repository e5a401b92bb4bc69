import { checkInteger, firstNonFinite } from '@megamoe/core';
import type { Backend, Tensor } from '@megamoe/ops';
import type { Probe } from './probe';

/** A value of a step that is not finite, and the tensor that has it. */
export interface NonFiniteValue {
  /** As a {@link Probe} is told. */
  readonly tensor: string;
  /** -1 before the first layer and after the last. */
  readonly layer: number;
  /** Of the step. */
  readonly row: number;
  readonly value: number;
}

/** Finds, for every row of one step, the first tensor that has a value that is NaN or infinite. */
export class FirstNonFinite {
  /** By row. */
  readonly #found: (NonFiniteValue & { readonly at: number })[] = [];
  #tensors = 0;

  /** What looks on while the step runs on a backend. */
  probe(backend: Backend): Probe {
    const look = (tensor: string, layer: number, x: Tensor, rows: number, inner: readonly number[]): void => {
      if (x.dtype !== 'f32') return;
      const at = this.#tensors++;
      const width = inner.reduce((a, b) => a * b, 1);
      const data = new Float32Array(rows * width);
      backend.download(x, 0, data.length, data, 0);
      for (let row = 0; row < rows; row++) {
        if (this.#found[row] !== undefined) continue;
        const bad = firstNonFinite(data, row * width, (row + 1) * width);
        if (bad >= 0) this.#found[row] = { tensor, layer, row, value: data[bad]!, at };
      }
    };
    return { tensor: look, between: look };
  }

  /** The first one in rows `[from, to)`: that of the earliest tensor, and of the earliest row in it. */
  in(from: number, to: number): NonFiniteValue | undefined {
    let first: (NonFiniteValue & { readonly at: number }) | undefined;
    checkInteger('FirstNonFinite.in', 'from', from, 0);
    checkInteger('FirstNonFinite.in', 'to', to, 0);
    for (let row = from; row < Math.min(to, this.#found.length); row++) {
      const found = this.#found[row];
      if (found !== undefined && (first === undefined || found.at < first.at)) first = found;
    }
    return first;
  }
}
