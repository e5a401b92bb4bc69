import { workerData } from 'node:worker_threads';

/** What a worker is started with. */
export interface WorkerStart {
  readonly megamoe: true;
  readonly argv: readonly string[];
  readonly isTerminal: boolean;
  readonly hasInput: boolean;
  /** [1] i32: not 0 when the command shall end. */
  readonly flag: SharedArrayBuffer;
}

/** What a worker tells. */
export type FromWorker =
  | { readonly out: string }
  | { readonly err: string }
  /** How far it is, for who asks. */
  | { readonly progress: string }
  /** It wants standard input. */
  | { readonly input: true }
  | { readonly code: number };

/** Whether this thread is a worker of `supervise`, and not the program itself. */
export const isWorker = (): boolean => (workerData as Partial<WorkerStart> | null)?.megamoe === true;
