import { describe, KindError, ShapeError, type Place } from '@megamoe/core';
import { bytesOf, makeMemoryChecks, makeValueChecks, type KindChecks, type OpChecks } from '@megamoe/ops';
import { DeviceCache } from './cache';
import { DeviceCompressor, DeviceRope, DeviceRouter } from './handles';
import { DeviceStaged } from './staged';
import { DeviceStep } from './step';
import { DeviceTensor } from './tensor';
import type { Device } from './device';
import { DeviceExperts, DeviceLinear } from './weights';

/** What makes each handle, and what tells whether it may be used. */
const HANDLES: Readonly<Record<string, { readonly by: string; readonly state: (v: unknown) => string }>> = {
  linear: { by: 'packLinear', state: (v) => DeviceLinear.stateOf(v) },
  experts: { by: 'packExperts', state: (v) => DeviceExperts.stateOf(v) },
  staged: { by: 'createStaged', state: (v) => DeviceStaged.stateOf(v) },
  router: { by: 'createRouter', state: (v) => (DeviceRouter.is(v) ? 'good' : 'foreign') },
  rope: { by: 'createRope', state: (v) => DeviceRope.stateOf(v) },
  compressor: { by: 'packCompressor', state: (v) => DeviceCompressor.stateOf(v) },
  cache: { by: 'createCache', state: (v) => DeviceCache.stateOf(v) },
  step: { by: 'createStep', state: (v) => DeviceStep.stateOf(v) },
};

function checkHandle(fn: string, arg: string, v: unknown, of: string): void {
  const { by, state } = HANDLES[of]!;
  const is = state(v);
  if (is === 'good') return;
  if (is === 'disposed') throw new KindError(`${fn}: "${arg}" has been disposed`);
  throw new KindError(`${fn}: "${arg}" must be what ${by} of the cuda backend made, got ${describe(v)}`);
}

function tooShort(fn: string, arg: string, v: { readonly length: number }, formula: string, want: number): never {
  throw new ShapeError(`${fn}: "${arg}" must hold at least ${formula} = ${want} elements, got ${v.length}`);
}

/** All places lie in one memory: that of the GPU. */
const GPU = new ArrayBuffer(0);

const overlap = (a: Place, b: Place): boolean => Math.max(a.begin, b.begin) < Math.min(a.end, b.end);

/** Checks of tensors of one GPU. Values are out of reach: kernels look at them. */
function deviceChecks(device: Device): KindChecks {
  return {
    handle: checkHandle,
    tensor(fn, arg, v, dtype, formula, want) {
      DeviceTensor.addressOf(fn, arg, v as unknown as DeviceTensor, device);
      const tensor = v as unknown as DeviceTensor;
      if (tensor.dtype !== dtype)
        throw new KindError(`${fn}: "${arg}" must be a tensor of ${dtype}, got ${tensor.dtype}`);
      if (tensor.length < want) tooShort(fn, arg, tensor, formula, want);
    },
    tooShort: (fn, arg, v, formula, want) => tooShort(fn, arg, v, formula, want),
    indices: () => undefined,
    rows: (_fn, _arg, v, width) => v.length / width,
    ends: () => undefined,
    place(arg, v, n) {
      const tensor = v as unknown as DeviceTensor;
      const begin = DeviceTensor.addressOf('', arg, tensor, device);
      return { arg, buffer: GPU, begin, end: begin + n * bytesOf(tensor.dtype) };
    },
    unshared: () => undefined,
    apart(fn, out, other) {
      if (overlap(out, other)) throw new ShapeError(`${fn}: "${out.arg}" must not overlap "${other.arg}"`);
    },
    apartOrSame(fn, out, other) {
      if (out.begin !== other.begin && overlap(out, other))
        throw new ShapeError(`${fn}: "${out.arg}" must not overlap "${other.arg}"`);
    },
  };
}

/** Checks of the arguments of every operation: kinds, shapes, handles, and outputs apart from everything else. */
export function makeDeviceChecks(device: Device): OpChecks {
  const kinds = deviceChecks(device);
  const values = makeValueChecks(kinds);
  const places = makeMemoryChecks(kinds);
  const both = Object.entries(values).map(([name, check]) => {
    const place = places[name as keyof OpChecks] as (a: unknown) => void;
    return [
      name,
      (a: unknown) => {
        (check as (a: unknown) => void)(a);
        place(a);
      },
    ];
  });
  return Object.fromEntries(both) as OpChecks;
}
