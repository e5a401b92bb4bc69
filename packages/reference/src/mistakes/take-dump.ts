/** A dump as it was given: maps of texts and tensors, each read once. */
import { checkObject, checkString, describe, KindError } from '@megamoe/core';
import { takeBytes, takeShape } from '../arguments';
import type { Dump, DumpTensor } from './types';

function takeTensor(fn: string, arg: string, tensor: DumpTensor): DumpTensor {
  checkObject(fn, arg, tensor);
  const { dtype, shape, bytes } = tensor;
  checkString(fn, `${arg}.dtype`, dtype);
  return { dtype, shape: takeShape(fn, `${arg}.shape`, shape), bytes: takeBytes(fn, `${arg}.bytes`, bytes) };
}

/** The entries of a map whose keys are texts. */
function takeMap<T>(fn: string, arg: string, map: ReadonlyMap<string, T>): [string, T][] {
  if (!(map instanceof Map)) throw new KindError(`${fn}: "${arg}" must be a Map, got ${describe(map)}`);
  const entries = [...(map as ReadonlyMap<string, T>)];
  for (const [name] of entries) checkString(fn, `a name of ${arg}`, name);
  return entries;
}

/** @throws KindError for what is no dump */
export function takeDump(fn: string, dump: Dump): Dump {
  checkObject(fn, 'dump', dump);
  const { metadata, tensors, file } = dump;
  const texts = takeMap(fn, 'dump.metadata', metadata);
  for (const [name, text] of texts) checkString(fn, `dump.metadata ${name}`, text);
  if (file !== undefined) checkString(fn, 'dump.file', file);
  const own = takeMap(fn, 'dump.tensors', tensors).map(
    ([name, tensor]) => [name, takeTensor(fn, `dump.tensors ${name}`, tensor)] as const,
  );
  return { metadata: new Map(texts), tensors: new Map(own), ...(file === undefined ? {} : { file }) };
}
