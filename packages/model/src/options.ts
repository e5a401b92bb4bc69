import { KindError, ValueError } from '@megamoe/core';

/** Letters only, lower case: `max_tokens` and `maxTokens` are one word to a person. */
const letters = (name: string): string => name.replace(/[^a-zA-Z]/g, '').toLowerCase();

/** Insertions, deletions and replacements between two words, at most `most + 1`. */
function distance(a: string, b: string, most: number): number {
  if (Math.abs(a.length - b.length) > most) return most + 1;
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}

/** The known name that a person most likely meant; undefined when none is near. */
function nearest(name: string, known: readonly string[], also: Readonly<Record<string, string>>): string | undefined {
  const word = letters(name);
  const alias = Object.entries(also).find(([other]) => letters(other) === word);
  if (alias) return alias[1];
  const most = word.length > 4 ? 2 : 1;
  const near = known.map((k) => [k, distance(word, letters(k), most)] as const).filter(([, d]) => d <= most);
  return near.sort((a, b) => a[1] - b[1])[0]?.[0];
}

/**
 * Throws for an option that does not exist, with the name that was probably meant: an option that is misspelt and ignored costs hours.
 * @param also other words for options, as other libraries have them
 * @throws KindError for what is no object, ValueError naming the option
 */
export function checkOptionNames(
  fn: string,
  options: object,
  known: readonly string[],
  also: Readonly<Record<string, string>> = {},
): void {
  if (typeof options !== 'object' || options === null) {
    throw new KindError(`${fn}: options must be an object, got ${options === null ? 'null' : typeof options}`);
  }
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const meant = nearest(key, known, also);
    const hint = meant === undefined ? '' : `; did you mean "${meant}"?`;
    throw new ValueError(`${fn}: unknown option "${key}"${hint || ';'} There are ${known.join(', ')}`);
  }
}
