/** Everything of a package that can be called, from its exports, so that nothing new is left out. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../../lib/run.mjs';

/** Packages that are called, by their folders; each has a table of valid calls in `tables/` (readers of damaged files: `fuzz.mjs`). */
export const PACKAGES = [
  'core',
  'native-kit',
  'sf-layout',
  'nvfp4-quant',
  'moe-router',
  'sampler',
  'gemm-native',
  'attention',
  'cuda',
  'chat',
  'hub',
  'ops',
  'checkpoint',
  'reference',
  'model',
  'layers',
  'verify',
  'server',
  'cli',
];

const isClass = (f) => typeof f === 'function' && /^class\b/.test(Function.prototype.toString.call(f));
const keyName = (key) =>
  key === Symbol.dispose ? '[dispose]' : typeof key === 'symbol' ? `[${key.description}]` : key;

/** Functions, getters and methods of an object or a prototype, by name. */
function members(owner) {
  const found = new Map();
  for (let o = owner; o !== null && o !== Object.prototype && o !== Function.prototype; o = Object.getPrototypeOf(o)) {
    for (const key of Reflect.ownKeys(o)) {
      const { value, get } = Object.getOwnPropertyDescriptor(o, key);
      if (key === 'constructor' || found.has(key)) continue;
      if (typeof value === 'function') found.set(key, (self) => self[key]);
      else if (get) found.set(key, (self) => () => self[key]);
    }
    if (o instanceof Error) break;
  }
  return found;
}

/**
 * What a package offers: name to `{ isNew, of(self) }`. `parts` are objects that its functions make, by the name of their type.
 */
export function callables(module, parts = {}) {
  const found = new Map();
  for (const [name, value] of Object.entries(module)) {
    if (isClass(value)) {
      found.set(name, { isNew: true, of: () => value });
      if (value.prototype instanceof Error) continue;
      for (const [key, of] of members(value.prototype)) found.set(`${name}.${keyName(key)}`, { isNew: false, of });
      for (const key of Reflect.ownKeys(value))
        if (typeof value[key] === 'function' && key !== 'prototype')
          found.set(`${name}.${keyName(key)}`, { isNew: false, of: () => value[key] });
    } else if (typeof value === 'function') found.set(name, { isNew: false, of: () => value });
  }
  for (const [name, made] of Object.entries(parts))
    for (const [key, of] of members(made)) found.set(`${name}.${keyName(key)}`, { isNew: false, of });
  return found;
}

/** A package as it is built, with its table. */
export async function load(name) {
  const path = join(ROOT, 'packages', name, 'dist', 'index.js');
  const module = await import(pathToFileURL(path));
  const table = await import(`./tables/${name}.mjs`);
  return { module, table, surface: callables(module, (await table.parts?.(module)) ?? {}) };
}

/** What a package offers and the table does not call, and what the table calls and is not there. */
export function gaps(surface, table) {
  const calls = Object.keys(table.calls);
  return {
    missing: [...surface.keys()].filter((name) => !calls.includes(name)),
    gone: calls.filter((name) => !surface.has(name)),
  };
}
