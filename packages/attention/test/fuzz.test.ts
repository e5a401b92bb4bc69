import { anyCalls, makeCalls, nearlyRightCalls } from '@megamoe/testkit';
import { expect, it } from 'vitest';
import { ISAS } from './backends';
import { nativeAddon } from '../src/native';

/** What each function of the addon takes after table and threads, in the letters of `nearlyRightCalls`. */
const SIGNATURES = {
  rope: 'fnnnnfft',
  compress: 'ffnnnnnnffenfffffff',
  indexSelect: 'fnnffnnnnni',
  attend: 'fnfnfnnninifef',
};

it('the addon survives random arguments, without the checks in front of it: an error or a result, never a crash', () => {
  const { addon } = nativeAddon();
  const functions = Object.entries(addon ?? {}).filter(([, f]) => typeof f === 'function');
  expect(functions.map(([name]) => name).sort()).toEqual(addon === undefined ? [] : Object.keys(SIGNATURES).sort());
  if (addon === undefined) return; // js only: there is no second line to test
  makeCalls(addon, anyCalls(Object.keys(SIGNATURES)), [], 4000);
  for (const table of ISAS.keys()) {
    const done = makeCalls(addon, nearlyRightCalls(SIGNATURES), [table, 2], 12_000);
    expect(Object.keys(done).sort()).toEqual(Object.keys(SIGNATURES).sort()); // each was reached with arguments that it accepts
  }
});
