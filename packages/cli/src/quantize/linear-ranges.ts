import { observed, type Backend } from '@megamoe/model';

/** Largest input magnitudes of dense matrices over any number of steps, seen by looking on at a backend. */
export class LinearRanges {
  /** By module name. */
  readonly amax = new Map<string, number>();
  #host = new Float32Array(0);

  /** A backend that looks at the inputs of every dense product. */
  watch(backend: Backend): Backend {
    return observed(backend, {
      linear: ({ w, x, rows }, run) => {
        const size = rows * w.groups * w.k;
        if (this.#host.length < size) this.#host = new Float32Array(size);
        backend.download(x, 0, size, this.#host, 0);
        let most = 0;
        for (let i = 0; i < size; i++) {
          const a = Math.abs(this.#host[i]!);
          if (a > most) most = a;
        }
        // What is packed together is named together, and has one input.
        for (const name of w.name.split('+')) this.amax.set(name, Math.max(most, this.amax.get(name) ?? 0));
        run();
      },
    });
  }
}
