import type { Checkpoint } from '@megamoe/checkpoint';
import type { Ops, WeightSource } from '@megamoe/model';

/** Largest input magnitudes of dense matrices over any number of steps, seen by standing between a model and its operations. */
export class LinearRanges {
  /** By module name. */
  readonly amax = new Map<string, number>();
  /** Modules that have been read since the last matrix was packed: those that it is made of. */
  private readonly reading = new Set<string>();
  private readonly names = new Map<object, readonly string[]>();
  private host = new Float32Array(0);

  /** The checkpoint, as a source that tells which module is being read. */
  source(checkpoint: Checkpoint): WeightSource {
    return {
      config: checkpoint.config,
      linear: (module, n, k) => checkpoint.linear(module, n, k),
      linearRows: (module, n, k, row0, rows, buffers) => {
        this.reading.add(module);
        return checkpoint.linearRows(module, n, k, row0, rows, buffers);
      },
      expert: (layer, expert, matrix, buffers) => checkpoint.expert(layer, expert, matrix, buffers),
      expertScales: (layer, expert, matrix) => checkpoint.expertScales(layer, expert, matrix),
      vector: (name, length) => checkpoint.vector(name, length),
      ints: (name, shape) => checkpoint.ints(name, shape),
    };
  }

  /** Operations that look at the inputs of every dense product. */
  ops(inner: Ops): Ops {
    return {
      ...inner,
      packLinear: (source) => {
        const w = inner.packLinear(source);
        this.names.set(w, [...this.reading]);
        this.reading.clear();
        return w;
      },
      linear: (w, x, m, out) => {
        const size = m * w.groups * w.k;
        if (this.host.length < size) this.host = new Float32Array(size);
        inner.download(x, 0, size, this.host, 0);
        let most = 0;
        for (let i = 0; i < size; i++) {
          const a = Math.abs(this.host[i]!);
          if (a > most) most = a;
        }
        for (const name of this.names.get(w) ?? []) this.amax.set(name, Math.max(most, this.amax.get(name) ?? 0));
        inner.linear(w, x, m, out);
      },
    };
  }
}
