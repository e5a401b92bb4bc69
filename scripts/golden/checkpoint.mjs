/** What of the goldens is about files: the shipped model, its tokenizer, and `megamoe quantize`. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadTokenizer, openCheckpoint } from '../../packages/checkpoint/dist/index.js';
import { runCli } from '../../packages/cli/dist/index.js';
import { ROOT } from '../lib/run.mjs';

const files = (dir) => readdirSync(dir, { recursive: true, withFileTypes: true }).filter((f) => f.isFile());

const sameFile = (a, b) => existsSync(a) && readFileSync(a).equals(readFileSync(b));

/** models/tiny is the golden's NVFP4 checkpoint, file by file. */
export function checkShipped(dir, report) {
  const source = join(dir, 'tiny-nvfp4');
  const names = files(source).map((f) => join(f.parentPath, f.name).slice(source.length + 1));
  const other = names.filter((name) => !sameFile(join(ROOT, 'models', 'tiny', name), join(source, name)));
  report({
    what: 'models/tiny',
    value: other.length,
    bound: `files of ${names.length} that differ`,
    ok: !other.length,
  });
}

/** Every prompt has the token ids of Hugging Face's tokenizer, and these decode to it. */
export function checkTokenizer(dir, prompts, report) {
  const tokenizer = loadTokenizer(join(dir, 'tiny-nvfp4'));
  const wrong = prompts.filter(
    ({ text, input_ids: ids }) => tokenizer.encode(text).join() !== ids.join() || tokenizer.decode(ids) !== text,
  );
  report({
    what: 'tokenizer',
    value: wrong.length,
    bound: `prompts of ${prompts.length} that differ`,
    ok: !wrong.length,
  });
}

function sameTensor(a, b, name) {
  const [x, y] = [a, b].map((c) => c.tensors.get(name));
  if (!x || !y || x.dtype !== y.dtype || x.shape.join() !== y.shape.join()) return false;
  return Buffer.compare(a.read(name), b.read(name)) === 0;
}

/** `megamoe quantize` of the BF16 weights gives the golden's NVFP4 tensors; the prediction layer stays as it was. */
export async function checkQuantize(dir, report) {
  const [bf16, out] = [join(dir, 'tiny-bf16'), mkdtempSync(join(tmpdir(), 'megamoe-goldens-'))];
  try {
    let err = '';
    const args = ['quantize', '--in', bf16, '--out', out, '--calibration', join(dir, 'calibration.json')];
    const io = {
      out: () => undefined,
      err: (text) => (err += text),
      isTerminal: false,
      signal: new AbortController().signal,
    };
    const code = await runCli(args, io);
    report({
      what: 'quantize',
      value: code,
      bound: 'exit code, nothing on stderr',
      ok: code === 0 && err === '',
      note: err,
    });
    if (code !== 0) return;
    const [got, want, source] = [out, join(dir, 'tiny-nvfp4'), bf16].map((folder) => openCheckpoint(folder));
    const isDraft = (name) => name.startsWith('mtp.');
    const count = (what, names, wrong, bound) => {
      const found = names.filter(wrong);
      const note = found.slice(0, 3).join(', ');
      report({
        what: `quantize, ${what}`,
        value: found.length,
        bound: `${bound} of ${names.length}`,
        ok: !found.length,
        note,
      });
    };
    const judge = (name) => (isDraft(name) ? source : want);
    const differs = (name) => !sameTensor(got, judge(name), name);
    count(
      'the model',
      [...want.tensors.keys()].filter((name) => !isDraft(name)),
      differs,
      'tensors that differ',
    );
    count('mtp.* as before', [...source.tensors.keys()].filter(isDraft), differs, 'tensors that differ');
    count('no others', [...got.tensors.keys()], (name) => !judge(name).tensors.has(name), 'tensors too many');
    for (const c of [got, want, source]) c.close();
    const beside = files(bf16)
      .map((f) => join(f.parentPath, f.name).slice(bf16.length + 1))
      .filter((name) => !/safetensors|^config\.json$/.test(name));
    count('side files', beside, (name) => !sameFile(join(out, name), join(bf16, name)), 'lost');
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}
