import type { LinearTensor, ReadBuffers } from '@megamoe/checkpoint';
import { takeConfig, type Inputs, type WeightSource } from '@megamoe/layers';
import { createHash } from 'node:crypto';

/** Bytes of each dense matrix that count. */
const SAMPLE = 256;

/**
 * A source that takes note of what it gives, so that models can be told apart at no cost: all that is never quantized, and the beginning of
 * every dense matrix.
 */
export class FingerprintedSource implements WeightSource {
  readonly #hash = createHash('sha256');
  readonly #seen = new Set<string>();
  readonly config: WeightSource['config'];
  readonly linearRows?: NonNullable<WeightSource['linearRows']>;
  readonly expertScales?: NonNullable<WeightSource['expertScales']>;
  readonly expertE8m0?: NonNullable<WeightSource['expertE8m0']>;

  constructor(private readonly source: WeightSource) {
    // A copy: what else a caller's object holds, or gives another time, is no part of the model.
    this.config = takeConfig('createModel', 'source.config', source.config);
    this.#hash.update(JSON.stringify(this.config));
    if (source.linearRows) {
      this.linearRows = (module, n, k, row0, rows, buffers) => {
        const tensor = source.linearRows!(module, n, k, row0, rows, buffers);
        if (row0 === 0) this.#note(module, tensor);
        return tensor;
      };
    }
    if (source.expertScales) this.expertScales = source.expertScales.bind(source);
    if (source.expertE8m0) this.expertE8m0 = source.expertE8m0.bind(source);
  }

  linear(module: string, n: number, k: number): LinearTensor {
    const tensor = this.source.linear(module, n, k);
    this.#note(module, tensor);
    return tensor;
  }

  expert(
    ...args: [layer: number, expert: number, matrix: 'w1' | 'w2' | 'w3', buffers?: ReadBuffers]
  ): ReturnType<WeightSource['expert']> {
    return this.source.expert(...args);
  }

  vector(name: string, length: number): Float32Array {
    const values = this.source.vector(name, length);
    if (this.#isNew(name)) this.#hash.update(bytesOf(values));
    return values;
  }

  ints(name: string, shape: readonly number[]): Int32Array {
    const values = this.source.ints(name, shape);
    if (this.#isNew(name)) this.#hash.update(bytesOf(values));
    return values;
  }

  /** Of the model that was loaded from it, as text: equal for the same weights with the same treatment of inputs. */
  fingerprint(inputs: Inputs, inputScales: string): string {
    return this.#hash
      .copy()
      .update(JSON.stringify([inputs, inputScales]))
      .digest('hex')
      .slice(0, 32);
  }

  #isNew(name: string): boolean {
    if (this.#seen.has(name)) return false;
    this.#seen.add(name);
    this.#hash.update(name);
    return true;
  }

  #note(module: string, tensor: LinearTensor): void {
    if (!this.#isNew(module)) return;
    for (const value of Object.values(tensor as object) as unknown[]) {
      if (ArrayBuffer.isView(value)) this.#hash.update(bytesOf(value).subarray(0, SAMPLE));
    }
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);
