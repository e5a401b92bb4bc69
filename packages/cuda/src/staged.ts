import { checkInteger, roundUp, ShapeError } from '@megamoe/core';
import { checkStagedRoom, takeStagedSpec } from '@megamoe/ops';
import type { InputPrecision, Staged, StagedRows, StagedSpec } from '@megamoe/ops';
import type { Device, Memory } from './device';

/** Where the parts lie; 0 for those that were not asked for. */
export interface StagedAddresses {
  /** [slots, K/2], [slots, K/16] E4M3 and [slots] f32 */
  readonly codes: number;
  readonly sf: number;
  readonly rowScale: number;
  /** [slots, K] f32, not rounded: products do that. */
  readonly floats: number;
}

/** What `createStaged` makes: one piece of memory of the GPU. */
export class DeviceStaged implements Staged {
  readonly spec: StagedSpec;
  slots = 0;
  k = 0;
  inputs: InputPrecision;
  /** Whether rows have scales of their own. */
  ownScales = false;
  readonly bytes: number;
  readonly #memory: Memory;
  readonly #at: StagedAddresses;

  static stateOf(v: unknown): 'good' | 'disposed' | 'foreign' {
    if (!(typeof v === 'object' && v !== null && #memory in v)) return 'foreign';
    return v.#memory.disposed ? 'disposed' : 'good';
  }

  constructor(device: Device, given: StagedSpec) {
    const fn = 'createStaged';
    const { spec, sizes } = takeStagedSpec(fn, given);
    const { blocks, rowScales, floats } = sizes;
    checkInteger(fn, 'slots', spec.slots, 1, 2 ** 31 - 1); // as kernels count them
    this.spec = spec;
    this.inputs = spec.inputs[0]!;
    const sf = roundUp(8 * blocks, 256);
    const rowScale = sf + roundUp(blocks, 256);
    const rows = rowScale + roundUp(4 * rowScales, 256);
    this.bytes = rows + 4 * floats;
    if (this.bytes > 2 ** 43) throw new ShapeError(`${fn}: cannot allocate ${this.bytes} bytes`);
    this.#memory = device.alloc(fn, this.bytes);
    const { address } = this.#memory;
    const [hasCodes, hasFloats] = [blocks > 0, floats > 0];
    this.#at = {
      codes: hasCodes ? address : 0,
      sf: hasCodes ? address + sf : 0,
      rowScale: hasCodes ? address + rowScale : 0,
      floats: hasFloats ? address + rows : 0,
    };
  }

  /** Throws unless `slots` rows of k elements can be staged as `inputs`. Nothing is there until {@link fill}. */
  empty(fn: string, slots: number, k: number, inputs: InputPrecision): StagedAddresses {
    checkStagedRoom(fn, this.spec, slots, k, inputs);
    this.k = 0;
    return this.addresses;
  }

  get addresses(): StagedAddresses {
    void this.#memory.address; // throws when it has been disposed
    return this.#at;
  }

  /** Says what is there now. */
  fill(slots: number, k: number, inputs: InputPrecision, ownScales: boolean): void {
    this.slots = slots;
    this.k = k;
    this.inputs = inputs;
    this.ownScales = ownScales;
  }

  /** A copy of what was staged last, `slots` rows of it. */
  read(device: Device): StagedRows {
    const fn = 'readStaged';
    const { slots, k, inputs, addresses: at } = this;
    const take = <T extends Uint8Array | Float32Array>(address: number, out: T): T => {
      device.download(fn, address, out, 0, out.byteLength);
      return out;
    };
    if (inputs !== 'nvfp4') return { inputs, rows: take(at.floats, new Float32Array(slots * k)) };
    return {
      inputs,
      codes: take(at.codes, new Uint8Array((slots * k) / 2)),
      sf: take(at.sf, new Uint8Array((slots * k) / 16)),
      rowScale: this.ownScales ? take(at.rowScale, new Float32Array(slots)) : null,
    };
  }

  dispose(): void {
    this.#memory.dispose();
    this.slots = 0;
    this.k = 0;
  }
}
