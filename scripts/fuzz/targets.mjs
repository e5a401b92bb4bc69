/**
 * What is fuzzed. Each target has seeds (valid inputs), `make(r)`, which makes an input from the grammar of its format, and `run`, which reads one
 * from a folder of its own: it calls `passed` when the input is past the reader's first checks (a header or a whole JSON that was taken for
 * good), and returns when all of it has been read.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../lib/run.mjs';
import { bundle, unbundle } from './grammar/bundle.mjs';
import { makeConfig } from './grammar/config.mjs';
import { makeDump } from './grammar/dump.mjs';
import { makeModel } from './grammar/model.mjs';
import { makePython } from './grammar/python.mjs';
import { makeSafetensors } from './grammar/safetensors.mjs';
import { makeTokenizer } from './grammar/tokenizer.mjs';

const built = (name) => import(join(ROOT, 'packages', name, 'dist', 'index.js'));
const { SafetensorsFile, openCheckpoint, loadTokenizer, parseConfig, readConfig, readGenerationConfig } =
  await built('checkpoint');
const { runCli } = await built('cli');
const { parseEncoding } = await built('chat');
const { loadModel } = await built('model');

const model = (...path) => readFileSync(join(ROOT, 'models', ...path));

/** A safetensors file of F32 or other tensors given as `[name, dtype, shape, bytes]`. */
function safetensors(tensors, metadata) {
  let at = 0;
  const entries = tensors.map(([name, dtype, shape, bytes]) => {
    const entry = { dtype, shape, data_offsets: [at, at + bytes.length] };
    at += bytes.length;
    return [name, entry];
  });
  const head = Object.fromEntries(metadata ? [['__metadata__', metadata], ...entries] : entries);
  const json = Buffer.from(JSON.stringify(head));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, ...tensors.map(([, , , bytes]) => Buffer.from(bytes.buffer ?? bytes))]);
}

const ones = (n) => new Uint8Array(new Float32Array(n).fill(1).buffer);
const bytes = (n, value = 0x38) => new Uint8Array(n).fill(value);
const ints = (...values) => new Uint8Array(Int32Array.from(values).buffer);

/** The tiny tokenizer with its vocabulary and merges cut short: the reader's own paths, not a megabyte of entries. */
function smallTokenizer() {
  const json = JSON.parse(model('tiny', 'tokenizer.json').toString('utf8'));
  const special = new Set(json.added_tokens.map((t) => t.content));
  const kept = Object.entries(json.model.vocab).filter(([token, id]) => id < 300 || special.has(token));
  json.model.vocab = Object.fromEntries(kept);
  json.model.merges = json.model.merges.filter((m) => {
    const [a, b] = Array.isArray(m) ? m : m.split(' ');
    return a in json.model.vocab && b in json.model.vocab && a + b in json.model.vocab;
  });
  return Buffer.from(JSON.stringify(json));
}

/** Dumps of some operations, as packages/cli/docs/dumps.md describes them. */
function dumps() {
  const f = (name, shape) => [name, 'F32', shape, ones(shape.reduce((a, b) => a * b, 1))];
  return [
    safetensors(
      [
        ['in.sf', 'U8', [5, 4], bytes(20)],
        ['out.sf_swizzled', 'U8', [512], bytes(512, 0)],
      ],
      { op: 'scale_layout', side: 'rows' },
    ),
    safetensors(
      [
        ['in.sf', 'U8', [5, 4], bytes(20)],
        ['in.expert_offsets', 'I32', [2], ints(2, 5)],
        ['out.sf_swizzled', 'U8', [1024], bytes(1024, 0)],
      ],
      { op: 'scale_layout', side: '2d' },
    ),
    safetensors(
      [
        f('in.x', [2, 32]),
        f('in.global_decode_scale', []),
        ['out.codes', 'U8', [2, 16], bytes(32)],
        ['out.sf', 'U8', [2, 2], bytes(4)],
      ],
      { op: 'quantize_nvfp4' },
    ),
    safetensors(
      [
        ['in.a_codes', 'U8', [3, 8], bytes(24)],
        ['in.a_sf', 'U8', [3, 1], bytes(3)],
        ['in.b_codes', 'U8', [2, 4, 8], bytes(64)],
        ['in.b_sf', 'U8', [2, 4, 1], bytes(8)],
        ['in.expert_offsets', 'I32', [2], ints(1, 3)],
        f('in.a_global_decode', [2]),
        f('in.b_global_decode', [2]),
        f('out', [3, 4]),
      ],
      { op: 'grouped_gemm_nvfp4' },
    ),
    safetensors(
      [
        f('in.logits', [2, 4]),
        f('in.bias', [4]),
        ['out.topk_ids', 'I32', [2, 2], ints(0, 1, 0, 1)],
        f('out.topk_weights', [2, 2]),
      ],
      { op: 'route', topk: '2', scoring: 'sqrtsoftplus', routed_scaling_factor: '1.5' },
    ),
    safetensors(
      [f('in.q', [3, 2, 8]), f('in.kv', [3, 8]), f('in.kv_comp', [0, 8]), f('in.sinks', [2]), f('out', [3, 2, 8])],
      {
        op: 'attention',
        ratio: '4',
        window: '2',
        rope_dim: '4',
        rope_theta: '10000',
        scale: '0.35',
      },
    ),
    safetensors([f('in.x', [3, 8]), ['in.positions', 'I32', [3], ints(0, 1, 2)], f('out', [3, 8])], {
      op: 'rope',
      rope_dim: '4',
      rope_theta: '10000',
      layer: 'window',
    }),
    safetensors(
      [
        f('in.streams', [2, 4, 8]),
        f('in.out', [2, 8]),
        f('in.post', [2, 4]),
        f('in.comb', [2, 4, 4]),
        f('out.streams', [2, 4, 8]),
      ],
      { op: 'residual_mix' },
    ),
    safetensors(
      [
        f('in.logits', [9]),
        ['in.prompt_ids', 'I32', [2], ints(1, 2)],
        ['in.output_ids', 'I32', [1], ints(3)],
        f('out.logits', [9]),
      ],
      { op: 'penalty', repetition_penalty: '1.1', presence_penalty: '0', frequency_penalty: '0' },
    ),
  ];
}

/** Messages that only a slip in our own code prints. */
const SLIP =
  /cannot read prop|is not a function|is not iterable|undefined|call stack|invalid array length|allocation failed|out of memory|offset is out of bounds|invalid typed array/i;

/** Throws unless what was read of an accepted file is what JSON.parse finds in its header, and the very bytes. */
function checkRead(file, input) {
  const length = Number(input.readBigUInt64LE(0));
  const head = JSON.parse(input.subarray(8, 8 + length).toString('utf8'));
  for (const [name, { dtype, shape, begin, end }] of file.tensors) {
    const said = Object.hasOwn(head, name) ? head[name] : undefined; // __proto__ is a name like others
    const same =
      said?.dtype === dtype && `${said.shape}` === `${shape}` && `${said.data_offsets}` === `${[begin, end]}`;
    if (!same) throw new Error(`read ${name} as ${dtype} [${shape}], the header says ${JSON.stringify(said)}`);
    const want = input.subarray(8 + length + begin, 8 + length + end);
    if (!want.equals(file.read(name))) throw new Error(`read other bytes of ${name} than the file has`);
  }
}

const CONFIGS = [model('tiny', 'config.json'), model('micro-flash', 'config.json'), model('micro-wide', 'config.json')];
const TOKENIZER = smallTokenizer();

export const TARGETS = {
  safetensors: {
    seeds: () => [
      safetensors(
        [
          ['a', 'F32', [2, 3], ones(6)],
          ['b', 'U8', [4], bytes(4)],
        ],
        { format: 'pt' },
      ),
      safetensors([
        ['x', 'BF16', [2], bytes(4)],
        ['y', 'F8_E4M3', [3], bytes(3)],
        ['z', 'I64', [], bytes(8)],
      ]),
      model('micro-flash', 'golden.safetensors').subarray(0, 6000),
    ],
    make: makeSafetensors,
    limit: 1 << 16,
    run(input, dir, passed) {
      const path = join(dir, 'x.safetensors');
      writeFileSync(path, input);
      const file = new SafetensorsFile(path);
      try {
        passed();
        checkRead(file, input);
      } finally {
        file.close();
      }
    },
  },
  config: {
    seeds: () => [...CONFIGS],
    make: (r) => makeConfig(r, CONFIGS),
    limit: 1 << 15,
    run(input, dir, passed) {
      writeFileSync(join(dir, 'config.json'), input);
      writeFileSync(join(dir, 'generation_config.json'), input);
      const { config } = readConfig(dir);
      passed();
      parseConfig(JSON.parse(input.toString('utf8')));
      readGenerationConfig(dir, config.vocabSize);
    },
  },
  checkpoint: {
    seeds: () => [
      bundle(
        new Map([
          ['config.json', model('micro-flash', 'config.json')],
          ['model.safetensors.index.json', model('tiny', 'model.safetensors.index.json').subarray(0, 1 << 14)],
        ]),
      ),
      bundle(
        new Map([
          ['config.json', model('micro-flash', 'config.json')],
          ['model.safetensors.index.json', Buffer.from('{"weight_map":{"embed.weight":"a.safetensors"}}')],
          ['a.safetensors', safetensors([['embed.weight', 'F32', [2], ones(2)]])],
        ]),
      ),
    ],
    make: makeModel,
    limit: 1 << 18,
    async run(input, dir, passed) {
      const folder = join(dir, 'model');
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder);
      for (const [name, content] of unbundle(input) ?? []) writeFileSync(join(folder, name), content);
      openCheckpoint(folder).close();
      passed();
      (await loadModel(folder, { backend: 'js' })).dispose();
    },
  },
  tokenizer: {
    seeds: () => [TOKENIZER],
    make: (r) => makeTokenizer(r, TOKENIZER),
    limit: 1 << 15,
    run(input, dir, passed) {
      writeFileSync(join(dir, 'config.json'), model('tiny', 'config.json'));
      writeFileSync(join(dir, 'tokenizer.json'), input);
      writeFileSync(join(dir, 'tokenizer_config.json'), model('tiny', 'tokenizer_config.json'));
      const tokenizer = loadTokenizer(dir);
      passed();
      tokenizer.decode(tokenizer.encode('The capital of France is 12 \u{1f600}\n'));
    },
  },
  encoding: {
    seeds: () => [model('tiny', 'encoding', 'encoding_dsv4.py')],
    make: makePython,
    limit: 1 << 15,
    run(input, dir, passed) {
      const text = input.toString('utf8');
      const { contract } = parseEncoding(text, 'encoding_dsv4.py');
      passed();
      parseEncoding(text, 'encoding_dsv4.py', { contract });
    },
  },
  dump: {
    seeds: dumps,
    make: makeDump,
    limit: 1 << 14,
    async run(input, dir, passed) {
      const path = join(dir, 'dump.safetensors');
      writeFileSync(path, input);
      let said = '';
      const io = {
        out: () => undefined,
        err: (text) => void (said += text),
        isTerminal: false,
        signal: new AbortController().signal,
      };
      new SafetensorsFile(path).close();
      passed();
      const code = await runCli(['explain', path, '--json'], io);
      if (code > 2 || SLIP.test(said)) throw new Error(`explain: exit code ${code}: ${said}`);
      if (code > 0) throw Object.assign(new Error(said), { code: 'ERR_CHECKPOINT' }); // refused in words
    },
  },
};

/** A folder that targets write to, under `root`. */
export function scratch(root) {
  mkdirSync(root, { recursive: true });
  return root;
}
