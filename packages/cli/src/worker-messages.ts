/** What a worker is started with. */
export interface WorkerStart {
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
