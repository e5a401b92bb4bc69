/** What a pull takes if nothing else is asked for, beside the tensors: what a loader reads, what a quantized copy keeps, and the licence. */
const LOADED: readonly RegExp[] = [
  /^(?:config|generation_config|hf_quant_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json$/,
  /^chat_template\.(?:jinja|json)$/,
  /^encoding\//,
  /^(?:licen[cs]e|notice)[^/]*$/i,
];
const INDEX = 'model.safetensors.index.json';
const SINGLE = 'model.safetensors';

/**
 * A pattern of `--include` as a regular expression. The rules are those of the Hub's own tools (Python's `fnmatch`): `*` is any text, `/`
 * included, `?` one character, `[abc]` or `[!abc]` one of a set; a pattern that ends in `/` means all in that folder.
 */
export function globPattern(glob: string): RegExp {
  let source = '';
  const text = glob.endsWith('/') ? `${glob}*` : glob;
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    const end = c === '[' ? text.indexOf(']', i + (text[i + 1] === '!' ? 3 : 2)) : -1;
    if (c === '*') source += '[^]*';
    else if (c === '?') source += '[^]';
    else if (end > 0) {
      const set = text.slice(i + 1, end).replace(/[\\\]^[]/g, '\\$&');
      source += `[${set.startsWith('!') ? `^${set.slice(1)}` : set}]`;
      i = end;
    } else source += c.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
  }
  return new RegExp(`^${source}$`, 'u');
}

/** Chooses files by patterns. */
export function byGlobs(paths: readonly string[], globs: readonly string[]): string[] {
  const patterns = globs.map(globPattern);
  return paths.filter((path) => patterns.some((pattern) => pattern.test(path)));
}

/** The index of shards, if there is one: which tensors are loaded stands in it. */
export function indexOf(paths: readonly string[]): string | undefined {
  return paths.find((path) => path === INDEX);
}

/** Chooses what loads: {@link LOADED}, and the shards that the index names, or the one file. Other formats of the same weights stay away. */
export function whatLoads(paths: readonly string[], shards: readonly string[] | undefined): string[] {
  const tensors = new Set(shards === undefined ? [SINGLE] : [INDEX, ...shards]);
  return paths.filter((path) => tensors.has(path) || LOADED.some((pattern) => pattern.test(path)));
}
