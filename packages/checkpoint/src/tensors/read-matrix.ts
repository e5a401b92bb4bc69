import { ceilDiv, E8M0_VALUES } from '@megamoe/core';
import { badFile } from '../fail';
import type { Noticed } from '../noticed';
import { dtypeBits } from '../safetensors/dtypes';
import type { TensorInfo, TensorStore } from '../safetensors/store';
import { checkBlockScales, checkE8m0, checkFp8Codes, checkFp8Scales, checkWeights, decodeFloats } from './decode';
import type { Bf16Tensor, ExpertScales, F32Tensor, Fp8Tensor, MatrixTensor, Mxfp4Tensor, Nvfp4Tensor } from './matrix';
import { FP8_TILE } from './matrix';
import type { ModuleInfo } from './module-info';
import { scaleOf } from './module-info';
import type { GlobalScaleKey } from './global-scales';
import { globalScaleOf } from './global-scales';

/** Reads matrices of any format from a store, rows of them at a time; checks what only the data can show. */
export class MatrixReader {
  readonly #store: TensorStore;
  readonly #noticed: Noticed;
  readonly #inverted = new Set<string>();
  /** Rows of a scale tensor that have been counted, from the first on. */
  readonly #countedRows = new Map<string, number>();

  constructor(store: TensorStore, noticed: Noticed) {
    this.#store = store;
    this.#noticed = noticed;
  }

  /** Rows `[row0, row0 + rows)` of a module; its `n` is `rows`. */
  read(info: ModuleInfo, row0: number, rows: number): MatrixTensor {
    switch (info.format) {
      case 'fp8':
        return this.#fp8(info, row0, rows);
      case 'mxfp4':
        return this.#mxfp4(info, row0, rows);
      case 'nvfp4':
        return this.#nvfp4(info, row0, rows);
      default:
        return this.#plain(info, row0, rows);
    }
  }

  /** E8M0 scales [N, K/32] of an MXFP4 module, checked, without its codes. */
  e8m0(info: ModuleInfo, row0: number, rows: number): Uint8Array {
    const { k, fused } = info;
    const scale = scaleOf(info)!;
    const first = (fused ? fused.index * fused.rows + fused.row : 0) + row0;
    const e8m0 = this.#store.read(scale.name, (first * k) / 32, ((first + rows) * k) / 32);
    checkE8m0(scale, e8m0, k / 32, first);
    return e8m0;
  }

  /** What {@link read} gives of a module, without its data. */
  scales(info: ModuleInfo): ExpertScales {
    const { format, n, k } = info;
    if (format === 'nvfp4') return { format, n, k, ...this.#globalScales(info) };
    return { format: format === 'f16' ? 'f32' : format, n, k };
  }

  /** Rows of a weight of `bits` an element. */
  #rows({ weight, offset, k }: ModuleInfo, row0: number, rows: number, bits: number): Uint8Array {
    const rowBytes = (k * bits) / 8;
    const start = offset + row0 * rowBytes;
    return this.#store.read(weight.name, start, start + rows * rowBytes);
  }

  #plain(info: ModuleInfo, row0: number, n: number): Bf16Tensor | F32Tensor {
    const { format, k, weight } = info;
    const bytes = this.#rows(info, row0, n, format === 'f32' ? 32 : 16);
    const data = format === 'bf16' ? new Uint16Array(bytes.buffer, 0, n * k) : decodeFloats(weight, bytes);
    checkWeights(weight, data, k, row0);
    return data instanceof Uint16Array ? { format: 'bf16', n, k, data } : { format: 'f32', n, k, data };
  }

  #fp8(info: ModuleInfo, row0: number, n: number): Fp8Tensor {
    const { k, fused, weight } = info;
    const codes = this.#rows(info, row0, n, 8);
    checkFp8Codes(weight, codes, k, row0);
    const scale = scaleOf(info)!;
    const tiles = ceilDiv(k, FP8_TILE);
    const first = (fused?.row ?? 0) + row0; // within the expert, where tiles begin
    const tile0 = Math.floor(first / FP8_TILE);
    const tile1 = ceilDiv(first + n, FP8_TILE);
    const base = fused ? fused.index * ceilDiv(fused.rows, FP8_TILE) : 0;
    const size = dtypeBits(scale.dtype) / 8;
    const bytes = this.#store.read(scale.name, (base + tile0) * tiles * size, (base + tile1) * tiles * size);
    const stored =
      scale.dtype === 'F8_E8M0' ? Float32Array.from(bytes, (b) => E8M0_VALUES[b]!) : decodeFloats(scale, bytes);
    const scales = new Float32Array(n * tiles);
    for (let r = 0; r < n; r++) {
      const tile = Math.floor((first + r) / FP8_TILE) - tile0;
      scales.set(stored.subarray(tile * tiles, (tile + 1) * tiles), r * tiles);
    }
    const row = (fused ? fused.index * fused.rows : 0) + first;
    const erased = checkFp8Scales(scale, stored, codes, {
      ...{ n, k, first, tile0: base + tile0 },
      from: this.#countFrom(scale, row, n) - row,
    });
    this.#noteErased(scale, erased);
    return { format: 'fp8', n, k, codes, scales };
  }

  #mxfp4(info: ModuleInfo, row0: number, n: number): Mxfp4Tensor {
    return { format: 'mxfp4', n, k: info.k, codes: this.#rows(info, row0, n, 4), e8m0: this.e8m0(info, row0, n) };
  }

  #nvfp4(info: ModuleInfo, row0: number, n: number): Nvfp4Tensor {
    const { k, companions } = info;
    const sfInfo = companions.get('weight_scale')!;
    const codes = this.#rows(info, row0, n, 4);
    const sf = this.#store.read(sfInfo.name, (row0 * k) / 16, ((row0 + n) * k) / 16);
    const from = this.#countFrom(sfInfo, row0, n);
    this.#noteErased(sfInfo, checkBlockScales(sfInfo, sf, codes, { kSf: k / 16, row0, from }));
    return { format: 'nvfp4', n, k, codes, sf, ...this.#globalScales(info) };
  }

  /** The scalars of an NVFP4 module, as multipliers. */
  #globalScales(info: ModuleInfo): Pick<Nvfp4Tensor, 'weightGlobalDecodeScale' | 'inputGlobalDecodeScale'> {
    const { companions } = info;
    const [globalKey, inputKey] =
      info.convention === 'compressed-tensors'
        ? (['weight_global_scale', 'input_global_scale'] as const)
        : (['weight_scale_2', 'input_scale'] as const);
    const weightGlobalDecodeScale = this.#globalScale(companions.get(globalKey)!, globalKey)!;
    const inputInfo = companions.get(inputKey);
    const input = inputInfo && this.#globalScale(inputInfo, inputKey);
    return input === undefined
      ? { weightGlobalDecodeScale }
      : { weightGlobalDecodeScale, inputGlobalDecodeScale: input };
  }

  /** A global scale as a multiplier; undefined for one of inputs that counts as absent. */
  #globalScale(info: TensorInfo, key: GlobalScaleKey): number | undefined {
    const value = decodeFloats(info, this.#store.read(info.name))[0]!;
    const scale = globalScaleOf(key, value);
    if ('want' in scale) throw badFile(info.file, `expected ${scale.want}, found ${value}`, { tensor: info.name });
    if ('absent' in scale) {
      this.#noticed.count(`absent ${key}`, info.name, 0, ({ names, list }) =>
        names.size === 1
          ? `${info.file}: tensor "${info.name}" is ${value} and counts as absent`
          : `${names.size} ${key} are 0, infinite or too small and count as absent: ${list}`,
      );
      return undefined;
    }
    if (scale.inverted !== undefined && !this.#inverted.has(key)) {
      this.#inverted.add(key);
      this.#noticed.once(`${info.file}: tensor "${info.name}": ${scale.inverted} (told once for all ${key})`);
    }
    return scale.decode;
  }

  /** The first of rows `[row0, row0 + rows)` of a scale tensor that was not counted before; readers go from the first row to the last. */
  #countFrom(info: TensorInfo, row0: number, rows: number): number {
    const next = this.#countedRows.get(info.name) ?? 0;
    if (row0 <= next) this.#countedRows.set(info.name, Math.max(next, row0 + rows));
    return row0 <= next ? next : row0 + rows;
  }

  #noteErased(info: TensorInfo, blocks: number): void {
    if (blocks === 0) return;
    this.#noticed.count('erased', info.name, blocks, ({ names, amount, list }) => {
      const one = amount === 1;
      return (
        `${amount} block scale${one ? '' : 's'} in ${names.size} tensor${names.size === 1 ? '' : 's'} ${one ? 'is' : 'are'} 0 over codes that are not: ` +
        `${one ? 'its block decodes' : 'their blocks decode'} as zeros (${list})`
      );
    });
  }
}
