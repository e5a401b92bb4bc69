/** What a GPU refused. `code` is `ERR_DEVICE`; `reason` says what kind of refusal it was. */
export class DeviceError extends Error {
  readonly code = 'ERR_DEVICE';
  override readonly name = 'DeviceError';

  constructor(
    message: string,
    /**
     * `memory`: it has no more; what was to be made was not, the rest stands. `lost`: nothing can run there before the process is
     * started again; what lay in its memory is gone. `refused`: anything else that the driver said no to.
     */
    readonly reason: 'memory' | 'lost' | 'refused',
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Fields that the addon adds to what the runtime of CUDA refused. */
interface RuntimeFailure extends Error {
  readonly cudaError?: string;
  readonly isLost?: boolean;
}

/** What the addon threw, as an error of this package where CUDA refused something; others as they are. */
export function deviceError(error: unknown, doing: string): unknown {
  if (!(error instanceof Error)) return error;
  const { cudaError, isLost, message } = error as RuntimeFailure;
  if (cudaError === undefined) return error;
  if (cudaError === 'cudaErrorMemoryAllocation')
    return new DeviceError(
      `${doing}: no memory left on the GPU; load a smaller model, or fewer tokens at a time`,
      'memory',
      {
        cause: error,
      },
    );
  if (isLost === true)
    return new DeviceError(
      `${doing}: the GPU is lost to this process (${message}); start the process again to use it`,
      'lost',
      { cause: error },
    );
  return new DeviceError(`${doing}: ${message}`, 'refused', { cause: error });
}
