/** One item of a batch that failed. */
export interface StepFailure {
  /** Its index in the batch. */
  readonly item: number;
  readonly error: Error;
}

/**
 * Some sequences of a step could not go on because of their own data; they are as they were before it. The others have gone on, with the
 * bits that they get alone, and their logits are in `logits`. `code` is `ERR_STEP`.
 */
export class StepError extends Error {
  readonly code = 'ERR_STEP';
  override readonly name = 'StepError';

  constructor(
    readonly failures: readonly StepFailure[],
    /** As {@link Model.forward} would have returned them; rows of failed items are NaN. */
    readonly logits: Float32Array,
    items: number,
  ) {
    const [first] = failures;
    const others = failures.length > 1 ? ` and ${failures.length - 1} more` : '';
    super(
      `Model.forward: ${failures.length} of ${items} batch items failed, the others went on: item ${first!.item}${others}: ${first!.error.message}`,
      { cause: first!.error },
    );
  }
}
