import type {
  ArgOf,
  HostArray,
  HostArrays,
  Kind,
  KindChecks,
  OPS,
  OpArgs,
  OpName,
  Tensor,
  TensorKind,
  Tensors,
} from '@megamoe/ops';
import { makeValueChecks, OPS as TABLE } from '@megamoe/ops';

type ArgsOf<N extends OpName> = (typeof OPS)[N]['args'];

/** What the tensors of a call hold, by argument; null where null was given. */
export type Held<N extends OpName> = {
  readonly [A in keyof ArgsOf<N> as ArgsOf<N>[A] extends TensorKind ? A : never]: ArgsOf<N>[A] extends Kind
    ? ArgOf<ArgsOf<N>[A], HostArrays>
    : never;
};

/** One call of an operation, that the backend has run. */
export interface Call<N extends OpName> {
  readonly args: OpArgs<N, Tensors>;
  /** What its tensors held before it. Those that it only writes hold what poison left. */
  readonly before: Held<N>;
  /** The same after it. */
  readonly after: Held<N>;
}

/** A tensor argument of a call, with the number of its elements that the operation is about. */
export interface TensorArg {
  readonly arg: string;
  readonly tensor: Tensor;
  readonly n: number;
  readonly access: TensorKind['access'];
}

/** Tensors that are read as far as they go: the list gives no formula, or the least that there must be. */
const WHOLE: Readonly<Record<string, readonly string[]>> = { route: ['tid2eid'] };

const ignored = (): void => undefined;
const uncalled = (): never => {
  throw new Error('sizes have nothing to do with where memory lies');
};

/** Takes the place of the checks of the list, which work out how many elements of each tensor an operation uses. */
class Sizes {
  readonly of = new Map<string, number>();
  readonly #note: KindChecks['tensor'] = (_fn, arg, _v, _dtype, _formula, want) => void this.of.set(arg, want);
  readonly check = makeValueChecks({
    ...{ tensor: this.#note, tooShort: ignored },
    ...{ handle: ignored, indices: ignored, ends: ignored, rows: () => 0 },
    ...{ place: uncalled, unshared: uncalled, apart: uncalled, apartOrSame: uncalled },
  });
}

const sizes = new Sizes();

/** The tensors of a call, in the order of the list. @throws what the list says against its counts and flags */
export function tensorsOf<N extends OpName>(name: N, args: OpArgs<N, Tensors>): TensorArg[] {
  sizes.of.clear();
  (sizes.check[name] as (args: unknown) => void)(args);
  const kinds: Readonly<Record<string, Kind>> = TABLE[name].args;
  return Object.entries(kinds).flatMap(([arg, kind]): TensorArg[] => {
    const tensor = (args as Readonly<Record<string, unknown>>)[arg] as Tensor | null;
    if (kind.kind !== 'tensor' || tensor === null) return [];
    const isWhole = kind.shape === '' || WHOLE[name]?.includes(arg) === true;
    return [{ arg, tensor, n: isWhole ? tensor.length : sizes.of.get(arg)!, access: kind.access }];
  });
}

/** An array on the host for `n` elements of a tensor. */
export function hostArrayFor({ dtype }: Tensor, n: number): HostArray {
  if (dtype === 'f32') return new Float32Array(n);
  if (dtype === 'i32') return new Int32Array(n);
  return dtype === 'bf16' ? new Uint16Array(n) : new Uint8Array(n);
}
