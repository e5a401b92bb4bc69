import { posix } from 'node:path';
import ts from 'typescript';

/**
 * Circles of imports among files, each as a line `a.ts -> b.ts -> a.ts`, one for every group of files that reach each other. An import of
 * a type counts like any other: such a circle runs, but neither file can be read, moved or tested before the other.
 *
 * @param files Map of path (with /) to text; imports of files that are not in it are left out
 */
export function importCircles(files) {
  const imports = new Map([...files].map(([file, text]) => [file, importedFiles(file, text, files)]));
  const reach = new Map([...files.keys()].map((file) => [file, reachable(file, imports)]));
  const told = new Set();
  const circles = [];
  for (const file of [...files.keys()].sort()) {
    if (told.has(file) || !reach.get(file).has(file)) continue;
    for (const other of reach.get(file).keys()) if (reach.get(other).has(file)) told.add(other);
    circles.push(circleFrom(file, reach.get(file)));
  }
  return circles;
}

/** Files that a file imports, exports from or names a type of. */
function importedFiles(file, text, files) {
  const found = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName);
  return found
    .filter((name) => name.startsWith('.'))
    .map((name) => resolve(posix.join(posix.dirname(file), name), files))
    .filter((target) => target !== undefined);
}

function resolve(path, files) {
  const bare = path.replace(/\/$/, '');
  return [bare, `${bare}.ts`, `${bare}/index.ts`, bare.replace(/\.js$/, '.ts')].find((name) => files.has(name));
}

/** What can be reached from a file in one step or more: Map of file to the one before it on a shortest way. */
function reachable(from, imports) {
  const before = new Map();
  const queue = [from];
  for (const file of queue) {
    for (const next of imports.get(file)) {
      if (before.has(next)) continue;
      before.set(next, file);
      if (next !== from) queue.push(next);
    }
  }
  return before;
}

function circleFrom(file, before) {
  const circle = [file];
  for (let at = before.get(file); at !== file; at = before.get(at)) circle.unshift(at);
  return [file, ...circle].join(' -> ');
}
