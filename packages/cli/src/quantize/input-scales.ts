import type { Checkpoint } from '@megamoe/checkpoint';
import { globalDecodeScaleFromAmax } from '@megamoe/nvfp4-quant';
import type { Calibration } from './calibration';
import type { Unit } from './select';

/** What the source says about the inputs of a matrix; undefined where it says nothing, or that no token came. */
function stored(checkpoint: Checkpoint, name: string): number | undefined {
  const { n, k } = checkpoint.modules.get(name)!;
  const outline = checkpoint.linearRows(name, n, k, 0, 0);
  return outline.format === 'nvfp4' ? outline.inputGlobalDecodeScale : undefined;
}

/** All experts of a projection: calibration that did not reach one has the others to go by. */
const projectionOf = (name: string): string => name.replace(/\.experts\.\d+\./, '.experts.*.');

/**
 * The `input_scale` to write for each matrix that gets one: of the calibration, else of the source, whose dead experts get the projection's largest,
 * which is what they are computed with. A scale that nothing can be staged with is never written.
 */
export function inputScales(
  checkpoint: Checkpoint,
  units: readonly Unit[],
  calibration: Calibration | undefined,
): ReadonlyMap<string, number> {
  const scales = new Map<string, number>();
  const largest = new Map<string, number>();
  const dead: string[] = [];
  for (const { name } of units.flat()) {
    const amax = calibration?.amaxOf(name);
    const scale = amax === undefined ? stored(checkpoint, name) : globalDecodeScaleFromAmax(amax);
    if (scale === undefined) {
      dead.push(name);
      continue;
    }
    scales.set(name, scale);
    const projection = projectionOf(name);
    largest.set(projection, Math.max(scale, largest.get(projection) ?? 0));
  }
  for (const name of dead) {
    const scale = largest.get(projectionOf(name));
    if (scale !== undefined) scales.set(name, scale);
  }
  return scales;
}
