/**
 * Finds what a text says about documents and tells what does not resolve: `docs/formats.md D7` (a document and a numbered heading of it),
 * names of Markdown files, links; in Markdown also paths of the repository, in documents their own numbers.
 */
import { posix } from 'node:path';

/** The tree that citations are resolved in. */
export interface Tree {
  /** Tracked files, from the root. */
  readonly files: ReadonlySet<string>;
  readonly read: (path: string) => string;
}

/** What can be cited of a Markdown document. */
export interface Headings {
  /** Anchors, as GitHub makes them. */
  readonly anchors: ReadonlySet<string>;
  /** Numbers that headings begin with, as `A1.3` or `N4`. */
  readonly numbers: ReadonlySet<string>;
}

/** Where the repository's own files are on the web. */
export const WEB = 'https://github.com/megamoe/megamoe';

const NUMBER = String.raw`[A-Z]\d+(?:\.\d+)?`;
const GAP = String.raw`\s+(?:(?:\*|//|#)\s+)?`; // a citation may go on in the comment's next line
const CITED = new RegExp(
  String.raw`(?<![\w.*/})-])((?:[\w.-]+/)*[\w-]+\.md)\b(#[\w-]+)?(?:${GAP}(${NUMBER}(?:(?:,| and| to)${GAP}${NUMBER})*)(?![\w.]*\w))?`,
  'g',
);
/** Words for a place in a document that name no file; a document may say the second of itself. */
const NO_FILE = [
  /\b(?:FORMATS|DESIGN|FIELD-NOTES|DUMPS|SERVING|HOUSE|STYLE|TRIAL)(?:\.md)?,? (?:"|[A-Z]?\d|(?:rules?|numerics|sections?)\b)/g,
  /\b(?:sections?|rules?|field notes?) \d+\b/gi,
];
const OWN = new RegExp(String.raw`${WEB}/(?:blob|tree)/main/([\w./-]*\w)(#[\w-]+)?`, 'g');
const LINK = /\]\(([^()\s]+)\)/g;
const FOLDERS = String.raw`packages|internal|scripts|models|tools|bench|examples|docs|\.github`;
const places = (folders: string): RegExp => new RegExp(String.raw`(?<![\w./-])((?:${folders})/[\w./*-]*[\w*])`, 'g');
/** Paths of the repository; in READMEs also those of their package. */
const PATH = places(FOLDERS);
const PATH_OR_OWN = places(`${FOLDERS}|native|src|test`);
/** Made by tools or consumed by them, so not tracked for long. */
const GENERATED = /(?:^|\/)CHANGELOG\.md$|^\.changeset\/|^docs\/api\b|^bench\/history\.svg$/;
/** What a document is called; other names in code may be files that it makes. */
const DOCUMENT = /(?:^|\/)docs\/|(?:^|\/)[A-Z][A-Z-]+\.md$/;

/** A text with what lies in code blocks (and, if asked, in inline code) blanked, at the same offsets. */
function withoutCode(markdown: string, inline: boolean): string {
  const blank = (s: string): string => s.replace(/[^\n]/g, ' ');
  const text = markdown.replace(/^```[\s\S]*?^```/gm, blank);
  return inline ? text.replace(/`[^`\n]*`/g, blank) : text;
}

/** Headings of a Markdown document. */
export function headings(markdown: string): Headings {
  const anchors = new Set<string>();
  const numbers = new Set<string>();
  for (const [, title] of withoutCode(markdown, false).matchAll(/^#{1,6} (.*)$/gm)) {
    const slug = title!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-');
    let anchor = slug;
    for (let i = 1; anchors.has(anchor); i++) anchor = `${slug}-${i}`;
    anchors.add(anchor);
    const number = new RegExp(`^(${NUMBER})\\.? `).exec(title!);
    if (number) numbers.add(number[1]!);
  }
  return { anchors, numbers };
}

/** The first place that `found` knows: beside the text or in a folder above it. */
function upwards(from: string, name: string, found: (path: string) => boolean): string | undefined {
  for (let dir = posix.dirname(from); ; dir = posix.dirname(dir)) {
    const path = posix.normalize(posix.join(dir, name));
    if (found(path)) return path;
    if (dir === '.') return undefined;
  }
}

const isFolder = (tree: Tree, path: string): boolean => {
  const prefix = `${path.replace(/\/+$/, '')}/`;
  for (const file of tree.files) if (file.startsWith(prefix)) return true;
  return false;
};

/** A file or folder, or at least one where `*` stands for any name. */
function isThere(tree: Tree, path: string): boolean {
  if (!path.includes('*')) return tree.files.has(path) || isFolder(tree, path);
  const glob = new RegExp(`^${path.replace(/[.]/g, '\\.').replaceAll('*', '[^/]*')}(/|$)`);
  return [...tree.files].some((file) => glob.test(file));
}

/** `A1, A3 and A4` or `D1 to D7` as single numbers. */
function listed(numbers: string): string[] {
  return numbers.split(/(?:,| and)\s/).flatMap((part) => {
    const ends = part.match(new RegExp(NUMBER, 'g')) ?? [];
    const range = / to\s/.test(part) ? ends.map((end) => /^([A-Z])(\d+)$/.exec(end)) : [];
    const [first, last] = range;
    if (!first || !last) return ends;
    const count = Number(last[2]) - Number(first[2]) + 1;
    return Array.from({ length: Math.max(count, 0) }, (_, i) => `${first[1]}${Number(first[2]) + i}`).concat(ends);
  });
}

/** Everything in a file that does not resolve, as `path:line: what`. */
export function unresolved(tree: Tree, path: string, text = tree.read(path)): string[] {
  const found: string[] = [];
  const isMarkdown = path.endsWith('.md');
  const isDocument = path.startsWith('docs/');
  const tell = (at: number, what: string): void => {
    found.push(`${path}:${text.slice(0, at).split('\n').length}: ${what}`);
  };
  const checkAnchor = (at: number, file: string, anchor: string): void => {
    if (!file.endsWith('.md')) return;
    if (!headings(tree.read(file)).anchors.has(anchor)) tell(at, `${file} has no heading with the anchor #${anchor}`);
  };

  for (const { index, 1: name, 2: anchor, 3: numbers } of text.matchAll(CITED)) {
    if (GENERATED.test(name!)) continue;
    const file = upwards(path, name!, (at) => tree.files.has(at));
    if (file === undefined) {
      if (isMarkdown || numbers !== undefined || DOCUMENT.test(name!)) tell(index, `there is no ${name}`);
      continue;
    }
    if (anchor !== undefined) checkAnchor(index, file, anchor.slice(1));
    if (numbers === undefined) continue;
    const known = headings(tree.read(file)).numbers;
    for (const number of listed(numbers)) if (!known.has(number)) tell(index, `${file} has no heading ${number}`);
  }

  const checkTarget = (at: number, file: string, anchor: string | undefined): void => {
    if (!isThere(tree, file)) tell(at, `there is no ${file} to link to`);
    else if (anchor !== undefined) checkAnchor(at, file, anchor);
  };
  for (const { index, 1: file, 2: anchor } of text.matchAll(OWN)) checkTarget(index, file!, anchor?.slice(1));

  for (const pattern of isMarkdown ? NO_FILE.slice(0, 1) : NO_FILE) {
    for (const { index, 0: words } of text.matchAll(pattern))
      tell(index, `"${words}" names no file: write it as docs/formats.md D7`);
  }
  if (!isMarkdown) return found;

  const prose = withoutCode(text, true);
  for (const { index, 1: target } of prose.matchAll(LINK)) {
    const [place = '', anchor] = target!.split('#');
    if (/^\w+:/.test(place)) continue;
    checkTarget(index, place === '' ? path : posix.normalize(posix.join(posix.dirname(path), place)), anchor);
  }
  for (const { index, 1: place } of isDocument ? text.matchAll(PATH) : withoutCode(text, false).matchAll(PATH_OR_OWN)) {
    const isKnown = GENERATED.test(place!) || upwards(path, place!, (at) => isThere(tree, at)) !== undefined;
    if (!isKnown) tell(index, `there is no ${place}`);
  }
  if (!isDocument) return found;

  const { numbers } = headings(text);
  const letters = [...new Set([...numbers].map((number) => number[0]))].join('');
  if (letters === '') return found;
  const others = prose.replace(CITED, (cited) => ' '.repeat(cited.length));
  for (const { index, 0: number } of others.matchAll(
    new RegExp(`(?<![\\w.#/-])[${letters}]\\d+(?:\\.\\d+)?(?![\\w*])`, 'g'),
  )) {
    if (!numbers.has(number)) tell(index, `there is no heading ${number} here`);
  }
  return found;
}
