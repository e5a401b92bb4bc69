import { OP_NAMES, type Backend, type OpName } from '@megamoe/ops';

/** Told of an operation that has been launched. */
export type Watcher = (op: OpName, args: object) => void;

/** A backend that can be looked at while a model runs on it, and what looks. */
export interface Watched {
  readonly backend: Backend;
  /** Calls `look` after each operation of `work`. */
  during(look: Watcher, work: () => void): void;
}

/** `backend` with a function before each of its operations: steps that nobody looks at take no longer. */
export function watched(backend: Backend, others: Partial<Backend> = {}): Watched {
  let watcher: Watcher | undefined;
  const operations = Object.fromEntries(
    OP_NAMES.map((op) => {
      const run = backend[op] as (args: object) => void;
      const both = (args: object): void => {
        run(args);
        watcher?.(op, args);
      };
      return [op, both];
    }),
  );
  return {
    backend: { ...backend, ...others, ...operations },
    during(look, work) {
      watcher = look;
      try {
        work();
      } finally {
        watcher = undefined;
      }
    },
  };
}
