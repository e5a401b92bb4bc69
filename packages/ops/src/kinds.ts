/** Element types of tensors that travel between operations. */
export type Dtype = 'f32' | 'i32' | 'u8' | 'bf16' | 'e4m3';

/** What an operation does with a tensor. `updates` reads it first. */
export type Access = 'reads' | 'writes' | 'updates';

/**
 * A tensor of at least `shape` elements: it may be larger. `shape` is a formula over the other arguments, as in `rows*d`; empty where
 * another rule says how much of it is read.
 */
export interface TensorKind<D extends Dtype = Dtype, O extends boolean = boolean> {
  readonly kind: 'tensor';
  readonly dtype: D;
  readonly shape: string;
  readonly access: Access;
  readonly optional: O;
  /** Formulas of the smallest value and of the bound above all values; both for i32 only. Data errors of host backends. */
  readonly min?: string;
  readonly below?: string;
  /** The one argument that an output may be: exactly the same memory, not a part of it. */
  readonly inPlace?: string;
  /** Holds cumulative end offsets, the last at most this formula. */
  readonly ends?: string;
}

/** An integer that the host knows. */
export interface CountKind {
  readonly kind: 'count';
  readonly min: number;
  readonly multipleOf: number;
  /** Formula of the largest value. */
  readonly max?: string;
}

/** A number: finite and at least `min`, or with `positive` above 0 in float32 and Infinity too. */
export interface RealKind {
  readonly kind: 'real';
  readonly min: number;
  readonly positive: boolean;
}

/** true or false. */
export interface FlagKind {
  readonly kind: 'flag';
}

/** One of some words. */
export interface ChoiceKind<V extends string = string> {
  readonly kind: 'choice';
  readonly of: readonly V[];
}

/** Handles: what a backend made earlier and only it looks into. */
export type HandleName = 'linear' | 'experts' | 'staged' | 'router' | 'rope' | 'compressor' | 'cache' | 'step';

/** A handle; `access` says whether the operation writes what it stands for. */
export interface HandleKind<H extends HandleName = HandleName> {
  readonly kind: 'handle';
  readonly of: H;
  readonly access: Access;
}

/** Any argument. */
export type Kind = TensorKind | CountKind | RealKind | FlagKind | ChoiceKind | HandleKind;

type Rules = Partial<Pick<TensorKind, 'min' | 'below' | 'ends'>>;

/** A tensor that is read. */
export const tensor = <D extends Dtype>(dtype: D, shape: string, rules: Rules = {}): TensorKind<D, false> => ({
  kind: 'tensor',
  dtype,
  shape,
  access: 'reads',
  optional: false,
  ...rules,
});

/** A float32 tensor that is read. */
export const f32 = (shape: string): TensorKind<'f32', false> => tensor('f32', shape);

/** An int32 tensor that is read, each value in `[min, below)`. */
export const index = (shape: string, below: string, min = '0'): TensorKind<'i32', false> =>
  tensor('i32', shape, { min, below });

/** Cumulative end offsets of the experts [E], no leading zero; the last is at most `slots`. */
export const offsets = (shape: string): TensorKind<'i32', false> => tensor('i32', shape, { ends: 'slots' });

/** The same, or null. */
export const optional = <D extends Dtype>(kind: TensorKind<D, false>): TensorKind<D, true> => ({
  ...kind,
  optional: true,
});

/** A tensor that is written; with `inPlace` it may be that argument. */
export const writes = <D extends Dtype>(dtype: D, shape: string, inPlace?: string): TensorKind<D, false> => ({
  ...tensor(dtype, shape),
  access: 'writes',
  ...(inPlace === undefined ? {} : { inPlace }),
});

/** A tensor that is read and written. */
export const updates = <D extends Dtype>(dtype: D, shape: string): TensorKind<D, false> => ({
  ...tensor(dtype, shape),
  access: 'updates',
});

/** An integer of at least `min`. */
export const count = (min = 0, more: { multipleOf?: number; max?: string } = {}): CountKind => ({
  kind: 'count',
  min,
  multipleOf: more.multipleOf ?? 1,
  ...(more.max === undefined ? {} : { max: more.max }),
});

/** A finite number of at least `min`. */
export const real = (min = -Infinity): RealKind => ({ kind: 'real', min, positive: false });

/** A number above 0 in float32; Infinity means none. */
export const limit = (): RealKind => ({ kind: 'real', min: 0, positive: true });

/** true or false. */
export const flag = (): FlagKind => ({ kind: 'flag' });

/** One of some words. */
export const choice = <V extends string>(...of: readonly V[]): ChoiceKind<V> => ({ kind: 'choice', of });

/** A handle that is read. */
export const handle = <H extends HandleName>(of: H, access: Access = 'reads'): HandleKind<H> => ({
  kind: 'handle',
  of,
  access,
});
