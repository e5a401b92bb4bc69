import { ceilDiv, E8M0_VALUES } from '@megamoe/core';
import { badFile } from '../fail';
import type { TensorInfo, TensorStore } from '../safetensors/store';
import { checkBlockScales, checkE8m0, checkFp8Codes, checkFp8Scales, checkWeights, decodeFloats } from './decode';
import type { Bf16Tensor, ExpertScales, F32Tensor, Fp8Tensor, MatrixTensor, Mxfp4Tensor, Nvfp4Tensor } from './matrix';
import { FP8_TILE } from './matrix';
import type { ModuleInfo } from './module-info';
import { implausibleGlobalScale } from './plausible';

/** Reads matrices of any format from a store, rows of them at a time; checks what only the data can show. */
export class MatrixReader {
  readonly #store: TensorStore;
  readonly #warnOnce: (warning: string) => void;
  readonly #inverted = new Set<string>();

  constructor(store: TensorStore, warnOnce: (warning: string) => void) {
    this.#store = store;
    this.#warnOnce = warnOnce;
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
    const scale = info.companions.get('scale')!;
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
    const scale = info.companions.get('scale')!;
    const tiles = ceilDiv(k, FP8_TILE);
    const first = (fused?.row ?? 0) + row0; // within the expert, where tiles begin
    const tile0 = Math.floor(first / FP8_TILE);
    const tile1 = ceilDiv(first + n, FP8_TILE);
    const base = fused ? fused.index * ceilDiv(fused.rows, FP8_TILE) : 0;
    const size = scale.dtype === 'F32' ? 4 : 1;
    const bytes = this.#store.read(scale.name, (base + tile0) * tiles * size, (base + tile1) * tiles * size);
    const stored =
      scale.dtype === 'F32' ? decodeFloats(scale, bytes) : Float32Array.from(bytes, (b) => E8M0_VALUES[b]!);
    const scales = new Float32Array(n * tiles);
    for (let r = 0; r < n; r++) {
      const tile = Math.floor((first + r) / FP8_TILE) - tile0;
      scales.set(stored.subarray(tile * tiles, (tile + 1) * tiles), r * tiles);
    }
    checkFp8Scales(scale, stored, codes, { n, k, first, tile0: base + tile0 });
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
    checkBlockScales(sfInfo, sf, codes, k / 16, row0);
    return { format: 'nvfp4', n, k, codes, sf, ...this.#globalScales(info) };
  }

  /** The scalars of an NVFP4 module, as multipliers. */
  #globalScales(info: ModuleInfo): Pick<Nvfp4Tensor, 'weightGlobalDecodeScale' | 'inputGlobalDecodeScale'> {
    const { companions } = info;
    const isDivisor = info.convention === 'compressed-tensors';
    const [globalKey, inputKey] = isDivisor
      ? ['weight_global_scale', 'input_global_scale']
      : ['weight_scale_2', 'input_scale'];
    const weightGlobalDecodeScale = this.#globalScale(companions.get(globalKey)!, globalKey, isDivisor, false);
    const inputInfo = companions.get(inputKey);
    const input = inputInfo ? this.#globalScale(inputInfo, inputKey, isDivisor, true) : 0;
    if (inputInfo && input === 0)
      this.#warnOnce(`${inputInfo.file}: tensor "${inputInfo.name}" is 0 and counts as absent`);
    return input === 0 ? { weightGlobalDecodeScale } : { weightGlobalDecodeScale, inputGlobalDecodeScale: input };
  }

  /** A global scale as a multiplier. 0 stands only where it may, and stays 0. */
  #globalScale(info: TensorInfo, key: string, isDivisor: boolean, mayBeZero: boolean): number {
    const value = decodeFloats(info, this.#store.read(info.name))[0]!;
    if (value === 0 && mayBeZero) return 0;
    const decode = isDivisor ? Math.fround(1 / value) : value;
    if (!(value > 0 && value < Infinity && decode > 0 && decode < Infinity)) {
      const want = isDivisor ? 'a finite number above 0 with a finite inverse' : 'a finite number above 0';
      throw badFile(info.file, `expected ${want}, found ${value}`, { tensor: info.name });
    }
    const reason = implausibleGlobalScale(key, value);
    if (reason !== undefined && !this.#inverted.has(key)) {
      this.#inverted.add(key);
      this.#warnOnce(`${info.file}: tensor "${info.name}": ${reason} (told once for all ${key})`);
    }
    return decode;
  }
}
