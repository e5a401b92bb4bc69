import { pageBytes, pageKindsOf, PagePool, type Backend, type KvCache, type LayerSpec } from '@megamoe/ops';

/** The KV memory of a model: one cache of a backend, and the pages of all its sequences. */
export class KvMemory {
  readonly cache: KvCache;
  readonly pool: PagePool;

  constructor(
    readonly backend: Backend,
    readonly layers: readonly LayerSpec[],
    /** Tells the model apart from others: what one has saved, another cannot go on with. */
    readonly fingerprint: string,
  ) {
    this.cache = backend.createCache(layers);
    this.pool = new PagePool(pageKindsOf(layers), layers[0]?.window ?? 1, this.cache);
  }

  /** Bytes of all pages that sequences hold. */
  get usedBytes(): number {
    return Object.entries(this.pool.counts).reduce(
      (sum, [kind, { used }]) => sum + used * pageBytes(kind as keyof typeof this.pool.counts, this.layers),
      0,
    );
  }

  dispose(): void {
    this.cache.dispose();
  }
}
