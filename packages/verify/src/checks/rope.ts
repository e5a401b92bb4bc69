import * as reference from '@megamoe/reference';
import { ROTATED, TABLE } from '../bounds';
import { ropeDump } from '../dump';
import type { Check } from '../judge';
import type { Judged } from '../types';

/** Cosines and sines of positions. */
export const ropeTables: Check<'ropeTables'> = {
  at: (_, j) => ({ layer: j.layer, op: 'rope_tables', operation: 'ropeTables' }),
  judge({ args, before, after }, at, j) {
    const spec = j.registry.rope(args.rope);
    const { positions } = before;
    j.tables.set(args.cos, { spec, positions });
    const frequencies = reference.ropeFrequencies(spec);
    const angles = Array.from(positions, (p) => Array.from(frequencies, (w) => Math.fround(p * w))).flat();
    const shape = [args.rows, spec.ropeDim / 2];
    const judged = (output: string, got: Float32Array, want: number[]): Judged => ({
      ...{ output, got, want, shape, bound: TABLE, scale: () => 1 },
    });
    j.take(at, [judged('cos', after.cos, angles.map(Math.cos)), judged('sin', after.sin, angles.map(Math.sin))]);
  },
};

/** Rotations by the tables that the operation was given. */
export const rope: Check<'rope'> = {
  at: ({ x }, j) => ({ layer: j.layer, op: j.names.on('rope', x), operation: 'rope' }),
  judge({ args, before, after }, at, j) {
    const { rows, heads, d, ropeDim, inverse } = args;
    const { x, cos, sin } = before;
    const want = new Float64Array(x);
    const scale = new Float64Array(x.length);
    const half = ropeDim / 2;
    for (let r = 0; r < rows * heads; r++) {
      for (let i = 0; i < half; i++) {
        const at = (r + 1) * d - ropeDim + 2 * i;
        const angle = Math.floor(r / heads) * half + i;
        const [c, s] = [cos[angle]!, inverse ? -sin[angle]! : sin[angle]!];
        const [a, b] = [x[at]!, x[at + 1]!];
        want[at] = a * c - b * s;
        want[at + 1] = b * c + a * s;
        scale[at] = scale[at + 1] = Math.hypot(a, b);
      }
    }
    const got = after.x;
    const rotated: Judged = {
      output: 'out',
      got,
      want,
      shape: [rows, heads, d],
      bound: ROTATED,
      scale: (i) => scale[i]! + 1e-30,
    };
    j.take(at, [rotated], () => {
      const table = j.tables.get(args.cos);
      if (table === undefined || inverse || at.layer === null) return undefined; // rotations back are part of `attention`
      const { positions, spec } = table;
      const isCompressed = j.config.compressRatios[at.layer] !== 0;
      return ropeDump({ x, got, want, positions, heads, d, rope: spec, isCompressed });
    });
  },
};
