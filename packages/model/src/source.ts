import { checkFunction, checkObject } from '@megamoe/core';
import { takeConfig, type WeightSource } from '@megamoe/layers';

/** @throws KindError, ValueError for what is no source of weights, naming what it lacks */
export function checkSource(fn: string, source: WeightSource): void {
  checkObject(fn, 'source', source);
  for (const name of ['linear', 'expert', 'vector', 'ints'] as const) checkFunction(fn, `source.${name}`, source[name]);
  for (const name of ['linearRows', 'expertScales', 'expertE8m0'] as const)
    if (source[name] !== undefined) checkFunction(fn, `source.${name}`, source[name]);
  takeConfig(fn, 'source.config', source.config);
}
