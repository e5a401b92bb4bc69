import { fileURLToPath } from 'node:url';

/** Absolute path of a file of the repository, from its path below the root, as in `models/tiny/config.json`. */
export function repositoryFile(path: string): string {
  return fileURLToPath(new URL(`../../../${path}`, import.meta.url));
}
