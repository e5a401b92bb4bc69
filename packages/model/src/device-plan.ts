import { ValueError } from '@megamoe/core';
import { pageBytes, pageKindsOf, sequenceBytes, type DeviceMemory, type LayerSpec } from '@megamoe/ops';

/** What of a {@link MemoryPlan} is about the device that the backend computes on. */
export interface DevicePlan {
  /** Before the load, whoever uses the rest. */
  readonly freeBytes: number;
  readonly totalBytes: number;
  /** Weights, workspace, the first pages, and what the driver takes by giving out memory in large pieces. */
  readonly neededBytes: number;
  /** Bytes of KV pages for each token of a sequence, on average over `stateTokens` of them. */
  readonly kvBytesPerToken: number;
  /** Tokens of the longest sequence whose pages fit beside all that; 0 when the model does not fit. */
  readonly kvTokens: number;
}

/** Memory is given out in pieces of this size, but for small ones, which share one. */
const PIECE_BYTES = 2 ** 21;

/** Bytes that the device loses to one allocation. */
export const givenOut = (bytes: number): number =>
  bytes < PIECE_BYTES / 2 ? bytes : Math.ceil(bytes / PIECE_BYTES) * PIECE_BYTES;

/** For scratch of operations and tables of steps. */
const SCRATCH_BYTES = 64e6;

/** Pages of each kind that are made at once (PagePool). */
const FIRST_PAGES = 4;

/** More tokens than a sequence can have. */
const MOST_TOKENS = 2 ** 31 - 1;

/** Bytes of the pages of one sequence while they grow: the part that grows stands twice. */
function growingBytes(tokens: number, layers: readonly LayerSpec[]): number {
  const largest = layers.reduce((most, layer) => Math.max(most, sequenceBytes(tokens, [layer])), 0);
  return sequenceBytes(tokens, layers) + largest;
}

/** The most tokens whose pages take no more than `bytes`. */
function tokensIn(bytes: number, layers: readonly LayerSpec[]): number {
  let [fits, above] = [0, 1];
  while (above < MOST_TOKENS && growingBytes(above, layers) <= bytes) [fits, above] = [above, 2 * above];
  above = Math.min(above, MOST_TOKENS);
  while (above - fits > 1) {
    const middle = Math.floor((fits + above) / 2);
    if (growingBytes(middle, layers) <= bytes) fits = middle;
    else above = middle;
  }
  return fits;
}

/** What a device has room for beside `taken` bytes of weights and workspace. */
export function planDevice(
  { freeBytes, totalBytes }: DeviceMemory,
  limitBytes: number | undefined,
  taken: number,
  layers: readonly LayerSpec[],
  stateTokens: number,
): DevicePlan {
  const pages = pageKindsOf(layers).reduce((sum, kind) => sum + FIRST_PAGES * pageBytes(kind, layers), 0);
  const beside = taken + SCRATCH_BYTES;
  const neededBytes = Math.ceil(beside + pages);
  const room = Math.min(freeBytes, limitBytes ?? Infinity);
  return {
    freeBytes,
    totalBytes,
    neededBytes,
    kvBytesPerToken: stateTokens === 0 ? 0 : sequenceBytes(stateTokens, layers) / stateTokens,
    kvTokens: neededBytes > room ? 0 : tokensIn(room - beside, layers),
  };
}

const gb = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 1e9 ? 3 : 1)} GB`;

/** What to say where a model does not fit on the device. */
export function deviceTooSmall(
  fn: string,
  { neededBytes, freeBytes, totalBytes }: DevicePlan,
  limitBytes: number | undefined,
  parts: readonly { readonly name: string; readonly bytes: number }[],
): ValueError {
  const rest = parts.filter(({ name }) => name !== 'state').map(({ name, bytes }) => `${name} ${gb(bytes)}`);
  const limit = limitBytes !== undefined && limitBytes < freeBytes ? `, the limit is ${gb(limitBytes)}` : '';
  return new ValueError(
    `${fn}: this model needs ${gb(neededBytes)} of memory on the GPU (${rest.join(', ')}), ${gb(freeBytes)} of ${gb(totalBytes)} are ` +
      `free${limit}: stop what else uses the GPU (nvidia-smi names it), take a smaller maxChunk (workspace) or a larger GPU, or load on ` +
      'backend cpu, where memoryLimit leaves experts on the disk',
  );
}
