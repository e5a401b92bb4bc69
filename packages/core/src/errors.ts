/**
 * The error classes of megamoe. Match on `err.code`, not on the message: messages name the function, the argument, what was
 * expected and what came, and may be reworded.
 */

/** A length, shape or stride that does not fit. `code` is `ERR_SHAPE`. */
export class ShapeError extends RangeError {
  readonly code = 'ERR_SHAPE';
  override readonly name = 'ShapeError';
}

/** A value outside its range (NaN, negative, too large, not among the choices). `code` is `ERR_VALUE`. */
export class ValueError extends RangeError {
  readonly code = 'ERR_VALUE';
  override readonly name = 'ValueError';
}

/** An argument of the wrong kind. `code` is `ERR_KIND`. */
export class KindError extends TypeError {
  readonly code = 'ERR_KIND';
  override readonly name = 'KindError';
}

/** Asked for something this build or machine does not have; the message lists what there is. `code` is `ERR_UNSUPPORTED`. */
export class UnsupportedError extends Error {
  readonly code = 'ERR_UNSUPPORTED';
  override readonly name = 'UnsupportedError';
}

/** What an addon or the engine threw without a code, as an error of this project with the same words; others as they are. */
export function namedError(error: unknown): unknown {
  if (!(error instanceof Error) || 'code' in error) return error;
  if (error instanceof RangeError) return new ShapeError(error.message, { cause: error });
  return error instanceof TypeError ? new KindError(error.message, { cause: error }) : error;
}

/** Where in a checkpoint a {@link CheckpointError} happened. */
export interface CheckpointErrorDetails extends ErrorOptions {
  /** Path of the offending file. */
  readonly file?: string;
  /** Name of the offending tensor. */
  readonly tensor?: string;
}

/** A file of a checkpoint that is missing, damaged or contradicts itself. `code` is `ERR_CHECKPOINT`. */
export class CheckpointError extends Error {
  readonly code = 'ERR_CHECKPOINT';
  override readonly name = 'CheckpointError';
  readonly file: string | undefined;
  readonly tensor: string | undefined;

  constructor(message: string, { file, tensor, ...options }: CheckpointErrorDetails = {}) {
    super(message, options);
    this.file = file;
    this.tensor = tensor;
  }
}
