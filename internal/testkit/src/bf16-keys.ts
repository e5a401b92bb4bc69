/** Keys in BF16 where no GPU is: a backend on the host whose caches round them and show them as bit patterns. */

interface HeldTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly length: number;
}

interface Cache {
  readonly specs: readonly object[];
  part(layer: number, part: string): HeldTensor;
}

interface HostBackend {
  readonly description: string;
  createCache(layers: readonly { readonly kv?: string | undefined }[]): Cache;
  writeWindow(args: { readonly cache: unknown; readonly layer: number }): void;
  compress(args: { readonly cache: unknown; readonly layer: number; readonly indexer: boolean }): void;
  download(x: HeldTensor, from: number, n: number, out: Float32Array, at: number): void;
  upload(out: HeldTensor, at: number, data: ArrayLike<number>, from: number, n: number): void;
}

const bits = new Uint32Array(1);
const value = new Float32Array(bits.buffer);

function encode(x: number): number {
  value[0] = x;
  return Number.isNaN(x) ? 0x7fc0 : ((bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) >>> 16) & 0xffff;
}

function decode(half: number): number {
  bits[0] = half << 16;
  return value[0]!;
}

/**
 * A backend like another one, of typed arrays, that can hold keys in BF16 as a GPU does: each is rounded once when it is written, and tensors of
 * its caches hold bit patterns.
 * @param round another rounding than nearest even, to see that it is noticed; `part` is of the cache
 */
export function keysInBf16<B extends HostBackend>(
  backend: B,
  round: (x: number, part: string) => number = (x) => decode(encode(x)),
): B {
  /** By what stands for them outside: float32 tensors with rounded keys. */
  const inside = new Map<HeldTensor, HeldTensor>();
  const isBf16 = (cache: unknown, layer: number): boolean =>
    ((cache as Cache).specs[layer] as { kv?: string }).kv === 'bf16';
  const originals = new WeakMap<object, Cache['part']>();
  const rounded = (cache: Cache, layer: number, part: string): void => {
    const tensor = originals.get(cache)!(layer, part);
    const keys = new Float32Array(tensor.length);
    backend.download(tensor, 0, keys.length, keys, 0);
    backend.upload(
      tensor,
      0,
      keys.map((x) => round(x, part)),
      0,
      keys.length,
    );
  };
  const methods: Partial<HostBackend> & { readonly kvDtypes: readonly string[] } = {
    kvDtypes: ['f32', 'bf16'],
    createCache(layers) {
      const cache = backend.createCache(layers.map((layer) => ({ ...layer, kv: undefined })));
      const part = cache.part.bind(cache);
      originals.set(cache, part);
      const specs = cache.specs.map((spec, i) => ({ ...spec, ...(layers[i]!.kv && { kv: layers[i]!.kv }) }));
      Object.defineProperty(cache, 'specs', { value: specs });
      cache.part = (layer, name) => {
        const tensor = part(layer, name);
        if (!isBf16(cache, layer) || (name !== 'window' && name !== 'entries')) return tensor;
        const outside = { dtype: 'bf16', shape: tensor.shape, length: tensor.length };
        inside.set(outside, tensor);
        return outside;
      };
      return cache;
    },
    writeWindow(args) {
      backend.writeWindow(args);
      if (isBf16(args.cache, args.layer)) rounded(args.cache as Cache, args.layer, 'window');
    },
    compress(args) {
      backend.compress(args);
      if (isBf16(args.cache, args.layer) && !args.indexer) rounded(args.cache as Cache, args.layer, 'entries');
    },
    download(x, from, n, out, at) {
      const tensor = inside.get(x);
      if (tensor === undefined) return backend.download(x, from, n, out, at);
      const keys = new Float32Array(n);
      backend.download(tensor, from, n, keys, 0);
      for (let i = 0; i < n; i++) out[at + i] = encode(keys[i]!);
    },
    upload(out, at, data, from, n) {
      const tensor = inside.get(out);
      if (tensor === undefined) return backend.upload(out, at, data, from, n);
      backend.upload(
        tensor,
        at,
        Float32Array.from({ length: n }, (_, i) => decode(data[from + i]!)),
        0,
        n,
      );
    },
  };
  return new Proxy(backend, {
    get: (target, key): unknown =>
      key in methods ? methods[key as keyof typeof methods] : Reflect.get(target, key, target),
  });
}
