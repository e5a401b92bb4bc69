import { UnsupportedError } from '@megamoe/core';
import { takeExperts, takeLinear, type ExpertsSource, type LinearSource, type WeightRows } from '@megamoe/ops';
import type { Device } from './device';
import { DeviceExperts, DeviceLinear, type LinearScales, TILE_ROWS, WeightMemory } from './weights';

/** Copies rows from row `row0` of all on. */
function put(fn: string, device: Device, memory: WeightMemory, row0: number, rows: number, from: WeightRows): void {
  const [, , , k, to, scalesTo] = memory.native;
  const data = 'codes' in from ? from.codes : from.data;
  const scales = 'sf' in from ? from.sf : 'scales' in from ? from.scales : null;
  if (memory.isPacked) {
    device.putPacked(fn, to!, k!, row0, rows, data, scales!);
    return;
  }
  device.upload(fn, to! + (row0 * data.byteLength) / rows, data, 0, data.byteLength);
  if (scales !== null) device.upload(fn, scalesTo! + (row0 * scales.byteLength) / rows, scales, 0, scales.byteLength);
}

/** Checks and packs a dense weight. */
export function packLinear(device: Device, given: LinearSource): DeviceLinear {
  const fn = 'packLinear';
  const source = takeLinear(fn, given);
  const { name, n, k, groups, dtype, scales, whole } = source;
  const all = groups * n;
  const memory = new WeightMemory(fn, device, dtype, groups, n, k, 1);
  let alphas: LinearScales | null = null;
  try {
    if (whole === null) {
      const most = TILE_ROWS * Math.max(1, Math.floor(source.most / TILE_ROWS)); // whole tiles: they are packed together
      for (let row = 0, rows = 0; row < all; row += rows) {
        rows = Math.min(most, n - (row % n));
        put(fn, device, memory, row, rows, source.read(row, rows));
      }
    } else put(fn, device, memory, 0, all, whole);
    if (scales !== null) {
      const { input, alpha, alphaW4a4 } = scales;
      const first = device.allocFrom(fn, alpha);
      try {
        alphas = { input, alpha: first, alphaW4a4: device.allocFrom(fn, alphaW4a4) };
      } catch (error) {
        first.dispose();
        throw error;
      }
    }
    return new DeviceLinear(name, n, k, groups, dtype, scales?.parts ?? 1, memory, alphas);
  } catch (error) {
    memory.dispose();
    throw error;
  }
}

/** Checks and packs expert weights, part by part. `same`: reads those of expert 0, and copies them for the others. */
export function packExperts(device: Device, given: ExpertsSource, same = false): DeviceExperts {
  const fn = 'packExperts';
  const { name, shape, pool, read } = takeExperts(fn, given);
  if (pool !== undefined) throw noPool(fn);
  const { numExperts, n, k, parts, format } = shape;
  const memory = new WeightMemory(fn, device, format, numExperts, n, k, parts);
  const rows = n / parts;
  try {
    for (let e = 0; e < (same ? 1 : numExperts); e++)
      for (let p = 0; p < parts; p++) put(fn, device, memory, e * n + p * rows, rows, read(e, p));
    if (same) memory.repeatFirst(fn, device);
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
