/** The commands that write files, each with what is there before. */
import { mkdirSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FAILURE } from './judge.mjs';
import { putSmallModel } from './models.mjs';

/** The small model, with files that a quantized copy takes over. */
function putWithSideFiles(to) {
  putSmallModel(to);
  writeFileSync(join(to, 'generation_config.json'), '{"eos_token_id": 1}\n');
  mkdirSync(join(to, 'encoding'));
  writeFileSync(join(to, 'encoding', 'encoding_dsv4.py'), '# text\n');
}

/** A page of a verification or an inspection; of one that failed only that it says so. */
const verdict = (path, bytes, root) =>
  path.endsWith('.html') && bytes.includes('class="verdict bad"') && bytes.includes('</html>')
    ? FAILURE
    : page(path, bytes, root);

/** A page without what differs from run to run: its paths and times. */
const page = (path, bytes, root) =>
  path.endsWith('.html')
    ? Buffer.from(
        String(bytes)
          .replaceAll('<wbr>', '')
          .replaceAll(root, '')
          .replace(/\b\d+(?:\.\d+)? (?:m|µ)?s\b|\d{4}-\d\d-\d\d[T ][\d:.]+Z?/g, ''),
      )
    : bytes;

/** Groups of `quantize`: the folder is one, the report another. */
const byOutput = (name) => (name.endsWith('.html') ? 'html' : 'out');

const quantize = (root, ...more) => ['quantize', '--in', join(root, 'in'), '--out', join(root, 'out'), ...more];

/** A file of the history of `bench` without figures, which differ from run to run; of a plot only that it is whole. */
function figures(path, bytes) {
  const text = String(bytes);
  if (path.endsWith('.svg')) return Buffer.from(text.slice(text.lastIndexOf('</svg>')));
  if (!path.endsWith('.csv')) return bytes;
  const shapes = text.split('\n').map((line) => /,(swizzle-\w+,[^,]*),/.exec(line)?.[1] ?? line);
  return Buffer.from(shapes.join('\n'));
}

/** Each file by itself. */
const byFile = (name) => name;

const DUMP = { op: 'rope', rope_dim: '4', rope_theta: '10000', layer: 'window' };

/** A dump for `explain`. */
function putDump(path) {
  const x = Buffer.from(Float32Array.of(1, 2, 3, 4).buffer);
  const entries = {
    'in.x': ['F32', [1, 4], 0, 16],
    'in.positions': ['I32', [1], 16, 20],
    out: ['F32', [1, 4], 20, 36],
  };
  const head = { __metadata__: DUMP };
  for (const [name, [dtype, shape, ...data_offsets]] of Object.entries(entries))
    head[name] = { dtype, shape, data_offsets };
  const json = Buffer.from(JSON.stringify(head));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(path, Buffer.concat([length, json, x, Buffer.from(Int32Array.of(3).buffer), x]));
}

const small = (root) => putSmallModel(join(root, 'in'));
const IDS = '1,2,3,4,5';
/** Without it JavaScript computes where an addon does not load, and sums in another order. */
const CPU = ['--backend', 'cpu'];

/**
 * `setup(root, cli)` makes what is there before (`cli` runs a command), `argv(root)` is the command; `group(path)` says which files are old or
 * new together; `normal(path, bytes, root)` takes away what differs from run to run; `stays` matches what a failure may leave, for the next
 * run goes on from it; `accumulates`: a second run does not leave what the first did; `order` says what is wrong with a state by which groups are old and which new; `follow`: a link counts as the file that it leads to.
 */
export const CASES = [
  {
    name: 'quantize, a new folder',
    command: 'quantize',
    short: true,
    setup: (root) => putWithSideFiles(join(root, 'in')),
    argv: (root) => quantize(root),
  },
  {
    name: 'quantize, shards over one file',
    command: 'quantize',
    async setup(root, cli) {
      putSmallModel(join(root, 'in'), { sign: -1 });
      await cli(quantize(root));
      putWithSideFiles(join(root, 'in'));
      writeFileSync(join(root, 'out', 'note.txt'), 'mine');
    },
    argv: (root) => quantize(root, '--overwrite', '--max-shard-bytes', '70000', '--html', join(root, 'q.html')),
    group: byOutput,
    normal: page,
  },
  {
    name: 'quantize, all layers, one file over shards',
    command: 'quantize',
    async setup(root, cli) {
      putWithSideFiles(join(root, 'in'));
      await cli(quantize(root, '--max-shard-bytes', '70000'));
      putSmallModel(join(root, 'in'), { sign: -1 });
    },
    argv: (root) => quantize(root, '--overwrite', '--layers', 'all', '--backend', 'js', '--json'),
  },
  {
    name: 'quantize, a new GGUF file',
    command: 'quantize',
    setup: (root) => putSmallModel(join(root, 'in'), { from: 'micro-wide' }),
    argv: (root) => ['quantize', '--in', join(root, 'in'), '--out', join(root, 'm.gguf'), '--format', 'gguf'],
  },
  {
    name: 'quantize, GGUF through a link over a file',
    command: 'quantize',
    setup(root) {
      putSmallModel(join(root, 'in'), { from: 'micro-wide' });
      mkdirSync(join(root, 'far'));
      writeFileSync(join(root, 'far', 'old.gguf'), 'old');
      symlinkSync('far/old.gguf', join(root, 'm.gguf'));
    },
    argv: (root) => ['quantize', '--in', join(root, 'in'), '--out', join(root, 'm.gguf'), '--format', 'gguf', '--overwrite'], // prettier-ignore
  },
  {
    name: 'logits, a new file',
    command: 'logits',
    setup: small,
    argv: (root) => ['logits', '--model', join(root, 'in'), '--token-ids', IDS, '--out', join(root, 'l.safetensors'), ...CPU], // prettier-ignore
  },
  {
    name: 'logits, a trace over a file',
    command: 'logits',
    setup(root) {
      small(root);
      writeFileSync(join(root, 'l.safetensors'), 'old');
      writeFileSync(join(root, 'ids.json'), `[${IDS}]`);
    },
    argv: (root) => ['logits', '--model', join(root, 'in'), '--token-ids', join(root, 'ids.json'), '--out', join(root, 'l.safetensors'), '--trace', '--step-from', '3', ...CPU], // prettier-ignore
  },
  {
    name: 'inspect, a page and a drawing',
    command: 'inspect',
    async setup(root, cli) {
      small(root);
      await cli(quantize(root));
      writeFileSync(join(root, 'i.svg'), 'old');
    },
    argv: (root) => ['inspect', join(root, 'out'), '--html', join(root, 'i.html'), '--svg', join(root, 'i.svg')],
    group: byFile,
    normal: verdict,
  },
  {
    name: 'layout, a drawing',
    command: 'layout',
    setup: () => undefined,
    argv: (root) => ['layout', '--rows', '200', '--k', '256', '--svg', join(root, 't.svg')],
  },
  {
    name: 'verify, a page over a page',
    command: 'verify',
    setup(root) {
      small(root);
      writeFileSync(join(root, 'v.html'), 'old');
    },
    argv: (root) => ['verify', '--model', join(root, 'in'), '--token-ids', IDS, '--decode', '1', '--html', join(root, 'v.html'), ...CPU], // prettier-ignore
    normal: verdict,
  },
  {
    name: 'bench, a row more in the history, and a plot',
    command: 'bench',
    async setup(root, cli) {
      await cli(bench(root));
      unlinkSync(join(root, 'h.svg'));
    },
    argv: bench,
    accumulates: true,
    group: byFile,
    normal: figures,
  },
  {
    name: 'pull, into an empty cache',
    command: 'pull',
    hub: true,
    setup: () => undefined,
    argv: () => ['pull', 'org/name'],
    group: byFile,
    stays: /\.megamoe\.incomplete$/,
    keepsFolders: true,
    order: refIsLast,
    follow: true, // where no symbolic link can be made, a hard one stands for it
  },
  {
    name: 'pull, what is missing of a newer commit',
    command: 'pull',
    hub: true,
    async setup(root, cli) {
      await cli(['pull', 'org/name', '--include', 'config.json', '--include', 'encoding/*']);
      const cache = join(root, 'cache', 'models--org--name');
      writeFileSync(join(cache, 'refs', 'main'), 'b'.repeat(40));
      mkdirSync(join(cache, 'snapshots', 'b'.repeat(40)));
    },
    argv: () => ['pull', 'org/name'],
    group: byFile,
    stays: /\.megamoe\.incomplete$/,
    keepsFolders: true,
    order: refIsLast,
    follow: true, // where no symbolic link can be made, a hard one stands for it
  },
  {
    name: 'generate, which writes nothing',
    command: 'generate',
    setup: () => undefined,
    argv: () => ['generate', 'The capital of Italy is', '--max-tokens', '3', ...CPU],
  },
  {
    name: 'explain, which writes nothing',
    command: 'explain',
    setup: (root) => putDump(join(root, 'd.safetensors')),
    argv: (root) => ['explain', join(root, 'd.safetensors'), '--json'],
  },
  {
    name: 'prompt, which writes nothing',
    command: 'prompt',
    setup: (root) => writeFileSync(join(root, 'r.json'), '[{"role": "user", "content": "Hi"}]'),
    argv: (root) => ['prompt', join(root, 'r.json')],
  },
  {
    name: 'parse, which writes nothing',
    command: 'parse',
    setup: (root) => writeFileSync(join(root, 'o.txt'), 'Hello'),
    argv: (root) => ['parse', join(root, 'o.txt'), '--json'],
  },
];

function bench(root) {
  const files = ['--csv', join(root, 'h.csv'), '--plot', join(root, 'h.svg')];
  return ['bench', '--quick', '--threads', '1', '--filter', 'swizzle', ...files];
}

/** The name of a revision may mean a commit only when all files of the commit are there. */
function refIsLast(groups) {
  const ref = [...groups].find(([name]) => name.endsWith('refs/main'));
  const old = [...groups].filter(([name, is]) => name.includes('/snapshots/') && is === 'old').map(([name]) => name);
  return ref?.[1] === 'new' && old.length > 0 ? `refs/main means a commit that lacks ${old.join(', ')}` : '';
}
