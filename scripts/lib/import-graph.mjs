/** Which file imports which, read from the texts: relative names, and names of this repository's packages as their `src`. */
import { posix } from 'node:path';
import ts from 'typescript';

const THREAD = /new URL\('(\.[^']+\.js)', import\.meta\.url\)/g;

/**
 * The graph of imports of types and values: Map of file to the files that it imports. What is not in `files` is left out.
 *
 * @param files Map of path from the root (with /) to text
 * @param packages Map of a package's name to the file that its name stands for
 * @param threads whether files that a file starts as a thread count, too: `new URL('./worker.js', import.meta.url)`
 */
export function importGraph(files, { packages = new Map(), threads = false } = {}) {
  const named = (text) => [
    ...ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName),
    ...(threads ? [...text.matchAll(THREAD)].map(([, name]) => name) : []),
  ];
  const target = (file, name) =>
    name.startsWith('.') ? resolve(posix.join(posix.dirname(file), name), files) : packages.get(name);
  return new Map(
    [...files].map(([file, text]) => [
      file,
      named(text)
        .map((name) => target(file, name))
        .filter((found) => files.has(found)),
    ]),
  );
}

function resolve(path, files) {
  const bare = path.replace(/\/$/, '');
  return [bare, `${bare}.ts`, `${bare}/index.ts`, bare.replace(/\.js$/, '.ts')].find((name) => files.has(name));
}

/**
 * What can be reached from a file in one step or more: Map of file to the one before it on a shortest way.
 *
 * @param graph what `importGraph` gives
 * @param isFollowed whether a step from one file to another counts
 */
export function reachable(from, graph, isFollowed = () => true) {
  const before = new Map();
  const queue = [from];
  for (const file of queue) {
    for (const next of graph.get(file)) {
      if (before.has(next) || !isFollowed(file, next)) continue;
      before.set(next, file);
      if (next !== from) queue.push(next);
    }
  }
  return before;
}
