import { readFileSync, statSync } from 'node:fs';
import { badFile } from '../fail';

/**
 * What a file of a checkpoint holds. A FIFO would wait for somebody who writes, and nothing can end such a wait; a device may have no end.
 * @throws CheckpointError for what is no file; what Node throws
 */
export function readWhole(path: string): Buffer {
  if (!statSync(path).isFile()) throw badFile(path, 'expected a regular file');
  return readFileSync(path);
}
