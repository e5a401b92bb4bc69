import { UnsupportedError } from '@megamoe/core';
import type { CompressorMemory, HostCache } from './cache';

/** Memory of a layer's compressor, or of its indexer's. @throws UnsupportedError where there is none */
export function compressorOf(cache: HostCache, layer: number, indexer: boolean, fn = 'compress'): CompressorMemory {
  const { spec, compressor, indexer: own } = cache.memory[layer]!;
  const memory = indexer ? own : compressor;
  if (memory) return memory;
  const what = indexer ? 'indexer' : 'compressor';
  throw new UnsupportedError(`${fn}: layer ${layer} has no ${what}: its compress ratio is ${spec.ratio}`);
}
