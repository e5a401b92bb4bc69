import { checkInteger, checkOneOf, KindError, ShapeError, takeList, ValueError } from '@megamoe/core';
import type { StagedSpec } from './handles';
import type { InputPrecision } from './types';

const PRECISIONS: readonly InputPrecision[] = ['f32', 'bf16', 'nvfp4'];

/** How large the parts of staged rows must be. */
export interface StagedSizes {
  /** Blocks of 16 in NVFP4: 8 bytes of codes and one of scales each; 0 unless they were asked for. */
  readonly blocks: number;
  /** Rows that may have scales of their own. */
  readonly rowScales: number;
  /** Elements as float32; 0 unless float32 or BF16 was asked for. */
  readonly floats: number;
}

/** A spec of what is staged, checked and copied, and what it takes. @throws KindError, ValueError naming the field */
export function takeStagedSpec(
  fn: string,
  spec: StagedSpec,
): { readonly spec: StagedSpec; readonly sizes: StagedSizes } {
  if (typeof spec !== 'object' || spec === null) throw new KindError(`${fn}: "spec" must be a StagedSpec`);
  const { slots, k, inputs } = spec;
  checkInteger(fn, 'slots', slots, 1, 2 ** 32);
  checkInteger(fn, 'k', k, 1, 2 ** 32);
  if (!Array.isArray(inputs) || inputs.length === 0)
    throw new KindError(`${fn}: "inputs" must be an array of at least one of ${PRECISIONS.join(', ')}`);
  const own = takeList(fn, 'inputs', inputs, 64, (precision) => {
    checkOneOf(fn, 'inputs', precision as InputPrecision, PRECISIONS);
    return precision as InputPrecision;
  });
  const blocks = own.includes('nvfp4') ? slots * Math.floor(k / 16) : 0;
  const floats = own.some((precision) => precision !== 'nvfp4') ? slots * k : 0;
  return {
    spec: Object.freeze({ slots, k, inputs: Object.freeze(own) }),
    sizes: { blocks, floats, rowScales: blocks > 0 ? slots : 0 },
  };
}

/** Throws unless `slots` rows of k elements can be staged as `inputs` where a spec made room. */
export function checkStagedRoom(fn: string, spec: StagedSpec, slots: number, k: number, inputs: InputPrecision): void {
  if (!spec.inputs.includes(inputs))
    throw new ValueError(
      `${fn}: "staged" was made for inputs ${spec.inputs.join(', ')}, got "${inputs}": name it in createStaged`,
    );
  if (slots > spec.slots || k > spec.k)
    throw new ShapeError(
      `${fn}: "staged" holds at most slots = ${spec.slots} rows of k = ${spec.k}, got ${slots} of ${k}`,
    );
}
