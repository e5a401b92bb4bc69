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
      `Model.forward: ${failures.length} of ${items} batch items failed, the others went on: item ${first!.item}${others}: ${first!.error.message.replace(/^Model\.forward: /, '')}`,
      { cause: first!.error },
    );
  }
}

/** A prompt that leaves no room for an answer. `code` is `ERR_CONTEXT_LENGTH`. */
export class ContextLengthError extends RangeError {
  readonly code = 'ERR_CONTEXT_LENGTH';
  override readonly name = 'ContextLengthError';

  constructor(
    fn: string,
    /** Tokens of the prompt. */
    readonly promptTokens: number,
    /** Most tokens of prompt and answer together. */
    readonly maxTokens: number,
  ) {
    super(
      `${fn}: the prompt has ${promptTokens} tokens, the model's limit is ${maxTokens} with at least one to generate`,
    );
  }
}

/** As many requests wait as may: it was refused before any work. Try again later. `code` is `ERR_QUEUE_FULL`. */
export class QueueFullError extends Error {
  readonly code = 'ERR_QUEUE_FULL';
  override readonly name = 'QueueFullError';

  constructor(
    readonly waiting: number,
    readonly maxQueue: number,
  ) {
    super(`Engine.submit: the queue is full: ${waiting} requests wait, maxQueue = ${maxQueue}; try again later`);
  }
}

/** The engine is closed, or closing and takes nothing more. `code` is `ERR_ENGINE_CLOSED`. */
export class EngineClosedError extends Error {
  readonly code = 'ERR_ENGINE_CLOSED';
  override readonly name = 'EngineClosedError';

  constructor(message = 'Engine: the engine has been closed') {
    super(message);
  }
}

/** The worker of an engine has died, or could not be started; `restart` of the engine brings it back. `code` is `ERR_WORKER`. */
export class WorkerError extends Error {
  readonly code = 'ERR_WORKER';
  override readonly name = 'WorkerError';
}
