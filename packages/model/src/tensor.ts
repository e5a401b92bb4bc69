/** Element types of tensors that travel between operations. */
export type TensorDtype = 'f32' | 'i32' | 'u8';

/**
 * A buffer of a backend, addressed by elements. The model never looks inside: a host backend keeps a typed array in `storage`, a
 * device backend its pointer. Tensors are capacities: operations are told how many rows of them to use.
 */
export interface Tensor {
  readonly dtype: TensorDtype;
  /** Elements it can hold. */
  readonly length: number;
  readonly storage: unknown;
}
