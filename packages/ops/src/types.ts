import type { ChoiceKind, CountKind, FlagKind, HandleName, HandleKind, Kind, RealKind, TensorKind } from './kinds';
import type { OpName, OPS } from './table';

/**
 * What stands for each kind of argument on one side of the border: typed arrays for kernels on the host, tensors for a backend.
 */
export interface Carrier extends Record<HandleName, unknown> {
  readonly f32: unknown;
  readonly i32: unknown;
  readonly u8: unknown;
  readonly bf16: unknown;
  readonly e4m3: unknown;
}

/** The type of an argument of kind `K`. */
export type ArgOf<K extends Kind, C extends Carrier> =
  K extends TensorKind<infer D, infer O>
    ? true extends O
      ? C[D] | null
      : C[D]
    : K extends CountKind | RealKind
      ? number
      : K extends FlagKind
        ? boolean
        : K extends ChoiceKind<infer V>
          ? V
          : K extends HandleKind<infer H>
            ? C[H]
            : never;

/** The arguments of an operation. */
export type OpArgs<N extends OpName, C extends Carrier> = {
  readonly [A in keyof (typeof OPS)[N]['args']]: (typeof OPS)[N]['args'][A] extends Kind
    ? ArgOf<(typeof OPS)[N]['args'][A], C>
    : never;
};

/** Operations as methods, all of them or some. */
export type Operations<C extends Carrier, N extends OpName = OpName> = {
  readonly [K in N]: (args: OpArgs<K, C>) => void;
};

/** Names of the operations of a family. */
export type FamilyOp<F extends 'rows' | 'experts' | 'attention'> = {
  [N in OpName]: (typeof OPS)[N]['family'] extends F ? N : never;
}[OpName];

/** What becomes of the inputs of a matrix product: left in float32, rounded to BF16, or quantized to NVFP4. */
export type InputPrecision = OpArgs<'linear', Carrier>['inputs'];
