import { makeFolders, writeSafetensors } from '@megamoe/checkpoint';
import { explainDump } from '@megamoe/reference';
import { join } from 'node:path';
import type { DumpTensor, OpAt, PendingDump } from './types';

/** Parameters as text: strings as they are, everything else as JSON. */
function metadataOf({ op, parameters }: PendingDump): Record<string, string> {
  const text = Object.entries(parameters).map(([k, v]) => [k, typeof v === 'string' ? v : JSON.stringify(v)] as const);
  return { op, ...Object.fromEntries(text) };
}

function bytesOf({ data }: DumpTensor): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Tries the known mistakes on a dump: ids of those that reproduce it, best first. */
export function mistakesOf(dump: PendingDump): string[] {
  const metadata = new Map(Object.entries(metadataOf(dump)));
  const tensors = new Map(dump.tensors.map((t) => [t.name, { dtype: t.dtype, shape: t.shape, bytes: bytesOf(t) }]));
  return explainDump({ metadata, tensors, file: dump.op }).mistakes.map((m) => m.id);
}

/** Writes a dump, in the format of `megamoe explain`, into a folder that is made when it is not there; returns its path. */
export async function writeDump(dir: string, { layer, op }: OpAt, dump: PendingDump): Promise<string> {
  makeFolders(dir);
  const path = join(dir, `${layer === null ? 'model' : `layer-${layer}`}.${op}.safetensors`);
  await writeSafetensors(path, dump.tensors, { metadata: metadataOf(dump) });
  return path;
}
