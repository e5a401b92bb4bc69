import { canonicalName, ReadBuffers, type Checkpoint, type TensorToWrite } from '@megamoe/checkpoint';
import type { QuantizedMatrix, Quantizer } from './quantizer';
import type { Unit } from './select';

/** Bytes of a copied tensor that are in memory at a time. */
const PIECE_BYTES = 16e6;

/** Pieces of a stored tensor, read one by one into the same memory. */
export function* pieces(
  checkpoint: Checkpoint,
  name: string,
  bytes: number,
  buffers: ReadBuffers,
): Generator<Uint8Array> {
  for (let at = 0; at < bytes; at += PIECE_BYTES)
    yield checkpoint.read(name, at, Math.min(bytes, at + PIECE_BYTES), buffers);
}

/** Stored tensors that are no part of the units, under canonical names, as they are. */
export function copiedTensors(checkpoint: Checkpoint, units: readonly Unit[]): TensorToWrite[] {
  const replaced = new Set(
    units.flat().flatMap((m) => [m.weight.name, ...[...m.companions.values()].map((t) => t.name)]),
  );
  // FP8 that stays has its scale under the name that its manifest means.
  const scales = new Map(
    [...checkpoint.modules.values()].flatMap((m): [string, string][] => {
      const scale = m.format === 'fp8' ? m.companions.get('weight_scale') : undefined;
      return scale ? [[scale.name, `${m.name}.scale`]] : [];
    }),
  );
  const buffers = new ReadBuffers();
  return [...checkpoint.tensors.values()]
    .filter(({ name }) => !replaced.has(name))
    .map(({ name, dtype, shape, bytes }) => ({
      name: scales.get(name) ?? canonicalName(name),
      dtype,
      shape,
      data: () => pieces(checkpoint, name, bytes, buffers),
    }));
}

/**
 * The tensors of the units in ModelOpt's layout. The first one that the writer asks for makes those of its whole unit, which are kept
 * until another unit's turn comes: everything is read and quantized once, and one unit is in memory.
 * @param inputs `input_scale` of the matrices that get one
 */
export function quantizedTensors(
  units: readonly Unit[],
  quantizer: Quantizer,
  inputs: ReadonlyMap<string, number>,
): TensorToWrite[] {
  let current: Unit | undefined;
  let made: QuantizedMatrix[] = [];
  return units.flatMap((unit) => {
    const get = (i: number): QuantizedMatrix => {
      if (current !== unit) made = quantizer.quantize(unit);
      current = unit;
      return made[i]!;
    };
    return unit.flatMap((info, i): TensorToWrite[] => {
      const { name, n, k } = info;
      const scalar = (key: string, value: () => number): TensorToWrite => ({
        name: `${name}.${key}`,
        dtype: 'F32',
        shape: [],
        data: () => Float32Array.of(value()),
      });
      const input = inputs.get(name);
      return [
        { name: `${name}.weight`, dtype: 'U8', shape: [n, k / 2], data: () => get(i).codes },
        { name: `${name}.weight_scale`, dtype: 'F8_E4M3', shape: [n, k / 16], data: () => get(i).sf },
        scalar('weight_scale_2', () => get(i).weightGlobalDecodeScale),
        ...(input === undefined ? [] : [scalar('input_scale', () => input)]),
      ];
    });
  });
}
