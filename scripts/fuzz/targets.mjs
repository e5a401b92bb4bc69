/** What is fuzzed: each target has seeds (valid inputs) and a function that reads one input from a folder of its own. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../lib/run.mjs';

const built = (name) => import(join(ROOT, 'packages', name, 'dist', 'index.js'));
const { SafetensorsFile, openCheckpoint, loadTokenizer, parseConfig, readConfig, readGenerationConfig } =
  await built('checkpoint');
const { runCli } = await built('cli');

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
    limit: 1 << 16,
    run(input, dir) {
      const path = join(dir, 'x.safetensors');
      writeFileSync(path, input);
      const file = new SafetensorsFile(path);
      try {
        for (const name of file.tensors.keys()) file.read(name);
      } finally {
        file.close();
      }
    },
  },
  config: {
    seeds: () => [
      model('tiny', 'config.json'),
      model('micro-flash', 'config.json'),
      model('micro-wide', 'config.json'),
    ],
    limit: 1 << 15,
    run(input, dir) {
      writeFileSync(join(dir, 'config.json'), input);
      writeFileSync(join(dir, 'generation_config.json'), input);
      const { config } = readConfig(dir);
      readGenerationConfig(dir, config.vocabSize);
      parseConfig(JSON.parse(input.toString('utf8')));
    },
  },
  checkpoint: {
    seeds: () => [
      model('tiny', 'model.safetensors.index.json').subarray(0, 1 << 15),
      Buffer.from('{"weight_map":{"embed.weight":"a.safetensors"}}'),
    ],
    limit: 1 << 15,
    run(input, dir) {
      writeFileSync(join(dir, 'config.json'), model('micro-flash', 'config.json'));
      writeFileSync(join(dir, 'model.safetensors.index.json'), input);
      writeFileSync(join(dir, 'hf_quant_config.json'), input);
      writeFileSync(join(dir, 'a.safetensors'), input);
      openCheckpoint(dir).close();
    },
  },
  tokenizer: {
    seeds: () => [smallTokenizer()],
    limit: 1 << 15,
    run(input, dir) {
      writeFileSync(join(dir, 'config.json'), model('tiny', 'config.json'));
      writeFileSync(join(dir, 'tokenizer.json'), input);
      writeFileSync(join(dir, 'tokenizer_config.json'), model('tiny', 'tokenizer_config.json'));
      const tokenizer = loadTokenizer(dir);
      tokenizer.decode(tokenizer.encode('The capital of France is 12 \u{1f600}\n'));
    },
  },
  dump: {
    seeds: dumps,
    limit: 1 << 14,
    async run(input, dir) {
      const path = join(dir, 'dump.safetensors');
      writeFileSync(path, input);
      let said = '';
      const io = {
        out: () => undefined,
        err: (text) => void (said += text),
        isTerminal: false,
        signal: new AbortController().signal,
      };
      const code = await runCli(['explain', path, '--json'], io);
      if (code > 2 || SLIP.test(said)) throw new Error(`explain: exit code ${code}: ${said}`);
    },
  },
};

/** A folder that targets write to, under `root`. */
export function scratch(root) {
  mkdirSync(root, { recursive: true });
  return root;
}
