import { addonInfos } from '@megamoe/model';
import { createRequire } from 'node:module';

type AddonFunction = (...args: unknown[]) => unknown;

/**
 * Clocks every function of the loaded addons while `work` runs. What is left of the time is TypeScript: checks, plans, the calls
 * themselves. It replaces the functions on the addons' own objects, which the kernels call by name, and puts them back.
 * @returns seconds in all, and seconds inside addon functions
 */
export function clockAddons(work: () => void): { total: number; native: number; calls: number } {
  let native = 0;
  let calls = 0;
  const put: (() => void)[] = [];
  for (const { path } of addonInfos()) {
    if (path === undefined) continue;
    const addon = createRequire(import.meta.url)(path) as Record<string, unknown>;
    for (const [name, f] of Object.entries(addon)) {
      if (typeof f !== 'function') continue;
      const inner = f as AddonFunction;
      addon[name] = (...args: unknown[]): unknown => {
        const started = performance.now();
        try {
          return inner(...args);
        } finally {
          native += performance.now() - started;
          calls++;
        }
      };
      put.push(() => (addon[name] = f));
    }
  }
  try {
    const started = performance.now();
    work();
    return { total: (performance.now() - started) / 1000, native: native / 1000, calls };
  } finally {
    for (const restore of put) restore();
  }
}
