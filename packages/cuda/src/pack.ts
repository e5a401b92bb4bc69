import { checkFunction, checkInteger, checkMultiple, checkOneOf, KindError, UnsupportedError } from '@megamoe/core';
import type { ExpertsSource, LinearSource, WeightFormat } from '@megamoe/ops';
import type { Device } from './device';
import {
  checkElements,
  checkExpertsShape,
  FORMATS,
  linearAlphas,
  MAX_MATRICES,
  nameOf,
  takeLinearSource,
  takeRows,
  type RowArrays,
} from './source-checks';
import { DeviceExperts, DeviceLinear, TILE_ROWS, WeightMemory } from './weights';

/** Bytes of a dense weight that are read at a time. */
const READ_BYTES = 8e6;

/** Bytes of an element, without scales. */
const ELEMENT_BYTES: Readonly<Record<WeightFormat, number>> = { f32: 4, bf16: 2, fp8: 1, nvfp4: 0.5 };

/** Copies rows from row `row0` of all on. */
function put(fn: string, device: Device, memory: WeightMemory, row0: number, rows: number, from: RowArrays): void {
  const [, , , k, data, scales] = memory.native;
  if (memory.isPacked) {
    device.putPacked(fn, data!, k!, row0, rows, from.data, from.scales!);
    return;
  }
  const { byteLength } = from.data;
  device.upload(fn, data! + (row0 * byteLength) / rows, from.data, 0, byteLength);
  if (from.scales === null) return;
  const bytes = from.scales.byteLength;
  device.upload(fn, scales! + (row0 * bytes) / rows, from.scales, 0, bytes);
}

/** Checks and packs a dense weight. */
export function packLinear(device: Device, given: LinearSource): DeviceLinear {
  const fn = 'packLinear';
  if (typeof given !== 'object' || given === null) throw new KindError(`${fn}: "source" must be a LinearSource`);
  const source = takeLinearSource(given);
  const name = nameOf(fn, source);
  const { n, k, groups = 1, dtype, data } = source;
  checkInteger(fn, 'n', n, 1);
  checkInteger(fn, 'k', k, 1);
  checkInteger(fn, 'groups', groups, 1, MAX_MATRICES);
  checkElements(fn, 'groups*n*k', groups * n * k);
  checkOneOf(fn, 'dtype', dtype, FORMATS);
  if (dtype === 'nvfp4') checkMultiple(fn, 'k', k, 16);
  const alphas = source.dtype === 'nvfp4' ? linearAlphas(fn, source, groups) : null;
  const rowsOf = (got: unknown): unknown => (dtype === 'f32' || dtype === 'bf16' ? { data: got } : got);
  const all = groups * n;
  const whole = typeof data === 'function' ? null : takeRows(fn, dtype, rowsOf(data), 'groups*n', all, k);
  const memory = new WeightMemory(fn, device, dtype, groups, n, k, 1);
  try {
    if (typeof data === 'function') {
      const most = TILE_ROWS * Math.max(1, Math.floor(READ_BYTES / (TILE_ROWS * k * ELEMENT_BYTES[dtype])));
      for (let row = 0, rows = 0; row < all; row += rows) {
        rows = Math.min(most, n - (row % n)); // never across groups: that is what a source is promised
        const got = takeRows(`${fn}: data(${row}, ${rows})`, dtype, rowsOf(data(row, rows)), 'rows', rows, k);
        put(fn, device, memory, row, rows, got);
      }
    } else put(fn, device, memory, 0, all, whole!);
    const scales =
      alphas === null
        ? null
        : {
            input: alphas.input,
            alpha: device.allocFrom(fn, alphas.alpha),
            alphaW4a4: device.allocFrom(fn, alphas.alphaW4a4),
          };
    return new DeviceLinear(name, n, k, groups, dtype, alphas?.parts ?? 1, memory, scales);
  } catch (error) {
    memory.dispose();
    throw error;
  }
}

/** Checks and packs expert weights, part by part. */
export function packExperts(device: Device, source: ExpertsSource): DeviceExperts {
  const fn = 'packExperts';
  if (typeof source !== 'object' || source === null) throw new KindError(`${fn}: "source" must be an ExpertsSource`);
  const { name: given, numExperts, n, k, parts = 1, format, pool, read } = source;
  const name = nameOf(fn, { name: given });
  const shape = { numExperts, n, k, parts, format };
  checkExpertsShape(fn, shape);
  checkFunction(fn, 'read', read);
  if (pool !== undefined) throw noPool(fn);
  const memory = new WeightMemory(fn, device, format, numExperts, n, k, parts);
  const rows = n / parts;
  try {
    for (let e = 0; e < numExperts; e++)
      for (let p = 0; p < parts; p++) {
        const got: unknown = read.call(source, e, p);
        const taken = takeRows(`${fn}: read(${e}, ${p})`, format, got, 'n/parts', rows, k);
        put(fn, device, memory, e * n + p * rows, rows, taken);
      }
    return new DeviceExperts(name, shape, memory);
  } catch (error) {
    memory.dispose();
    throw error;
  }
}

/** Pools are for memory that is too small; on a GPU all experts must fit. */
export function noPool(fn: string): UnsupportedError {
  return new UnsupportedError(
    `${fn}: there are no pools of experts on cuda, all of them must fit: load without a memory limit, or on backend cpu`,
  );
}
