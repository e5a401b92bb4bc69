/**
 * Arguments of one call, taken out of tensors by `onHost`: each was read once, and each array is one that a tensor of the host holds, which was
 * asked what it is when the tensor was made. Nobody else can make such an object, so kernels need not ask again: that costs more than small
 * operations.
 */
export class Unwrapped {
  readonly #own = true;

  /** Whether `a` was made here. */
  static is(a: object): boolean {
    if (!(a instanceof Unwrapped)) return false; // what everybody else passes
    try {
      return a.#own;
    } catch {
      return false;
    }
  }
}
