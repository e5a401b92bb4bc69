import { checkFunction, checkObject } from '@megamoe/core';
import type { Backend, Tensors } from './backend';
import { OP_NAMES, type OpName } from './table';
import type { OpArgs, Operations } from './types';

/** Looks on while operations run; what it does not name runs unobserved. */
export type Observer = {
  readonly [N in OpName]?: (args: OpArgs<N, Tensors>, run: () => void) => void;
};

/**
 * A backend with some of its methods in another's place. The others run on the backend itself; both may be of classes.
 * @throws KindError for what is no object, and for an operation that is no function
 */
export function overlaid(backend: Backend, methods: Partial<Backend>): Backend {
  checkObject('overlaid', 'backend', backend);
  checkObject('overlaid', 'methods', methods);
  const own = new Map<PropertyKey, unknown>(Object.entries(methods));
  for (let of: unknown = Object.getPrototypeOf(methods); of !== null && of !== Object.prototype;) {
    for (const name of Object.getOwnPropertyNames(of)) {
      if (name === 'constructor' || own.has(name)) continue;
      const value: unknown = Reflect.get(methods, name);
      own.set(name, typeof value === 'function' ? value.bind(methods) : value);
    }
    of = Object.getPrototypeOf(of);
  }
  for (const name of OP_NAMES) if (own.has(name)) checkFunction('overlaid', `methods.${name}`, own.get(name));
  // An object that inherits from the backend, not itself: a proxy of one that is frozen must answer with what it holds.
  return new Proxy(Object.create(backend) as Backend, {
    get(_, key) {
      const known = own.get(key);
      if (known !== undefined) return known;
      const value: unknown = Reflect.get(backend, key, backend);
      if (typeof value !== 'function') return value;
      const bound: unknown = value.bind(backend);
      own.set(key, bound);
      return bound;
    },
  });
}

/**
 * A backend whose operations go through `observer`, which runs each by `run()`, once, or not at all. Everything else is the backend's own.
 */
export function observed(backend: Backend, observer: Observer): Backend {
  const fn = 'observed';
  checkObject(fn, 'backend', backend);
  checkObject(fn, 'observer', observer);
  const methods = OP_NAMES.flatMap((name) => {
    const look = observer[name] as ((args: unknown, run: () => void) => void) | undefined;
    if (look === undefined) return [];
    checkFunction(fn, `observer.${name}`, look);
    const method = backend[name] as (args: unknown) => void;
    checkFunction(fn, `backend.${name}`, method);
    const op = (args: unknown): void => method.call(backend, args);
    return [[name, (args: unknown): void => look(args, () => op(args))] as const];
  });
  return overlaid(backend, Object.fromEntries(methods));
}

/** Operations of the list that a backend lacks. */
export function missingOperations(backend: Partial<Operations<Tensors>>): readonly OpName[] {
  checkObject('missingOperations', 'backend', backend);
  return OP_NAMES.filter((name) => typeof backend[name] !== 'function');
}
