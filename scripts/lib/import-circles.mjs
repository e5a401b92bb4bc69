import { importGraph, reachable } from './import-graph.mjs';

/**
 * Circles of imports among files, each as a line `a.ts -> b.ts -> a.ts`, one for every group of files that reach each other. An import of
 * a type counts like any other: such a circle runs, but neither file can be read, moved or tested before the other.
 *
 * @param files Map of path (with /) to text; imports of files that are not in it are left out
 */
export function importCircles(files) {
  const graph = importGraph(files);
  const reach = new Map([...files.keys()].map((file) => [file, reachable(file, graph)]));
  const told = new Set();
  const circles = [];
  for (const file of [...files.keys()].sort()) {
    if (told.has(file) || !reach.get(file).has(file)) continue;
    for (const other of reach.get(file).keys()) if (reach.get(other).has(file)) told.add(other);
    circles.push(circleFrom(file, reach.get(file)));
  }
  return circles;
}

function circleFrom(file, before) {
  const circle = [file];
  for (let at = before.get(file); at !== file; at = before.get(at)) circle.unshift(at);
  return [file, ...circle].join(' -> ');
}
