/** Valid calls of verify: the smallest model on the JavaScript backend, and findings in words. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../../../lib/run.mjs';
import { CONFIG, TinySource } from '../tiny-source.mjs';
import { handle } from '../typed.mjs';

const { createBackend } = await import(pathToFileURL(join(ROOT, 'packages', 'model', 'dist', 'index.js')));
const backend = handle(createBackend({ backend: 'js' }));

const step = (r) =>
  r.pick([
    { kind: 'prefill', position: 0, tokens: 3 },
    { kind: 'decode', position: 5, tokens: 1 },
  ]);
const metric = (r) => r.pick(['roundings', 'mismatches', 'ulp', 'nmse']);
const finding = (r) => ({
  ...{
    layer: r.pick([null, 1]),
    op: 'attn.wq_a',
    operation: 'linear',
    step: step(r),
    output: 'out',
    metric: metric(r),
  },
  ...{ error: r.unit(), bound: 0.5, reason: 'why', worst: r.pick([null, { index: [0, 1], got: 1, want: 2 }]) },
  ...r.pick([{}, { message: 'it threw' }, { mistakes: ['rope-twice'], dump: 'a/file' }]),
});

export const calls = {
  verifyBackend: (r) => ({
    args: [
      {
        ...{ source: new TinySource(), backend, tokenIds: Array.from(r.ints(r.int(1, 3), 0, CONFIG.vocabSize - 1)) },
        ...{
          decode: r.int(0, 1),
          activations: 'float',
          floatInputs: 'f32',
          inputScales: 'dynamic',
          kv: 'f32',
          maxChunk: 4,
        },
        ...{ everyPrecision: false, keepGoing: r.flag(), onProgress: () => 0 },
      },
    ],
    isAsync: true,
    observe: ({ passed, findings, tokenIds }) => [passed, findings.length, tokenIds],
  }),
  shareOf: (r) => ({ args: [r.unit(), r.unit()] }),
  errorText: (r) => ({ args: [{ metric: metric(r), error: r.unit() }] }),
  findingText: (r) => ({ args: [finding(r)] }),
  short: (r) => ({ args: [r.pick([null, 0, 1e-9, 12.345, Infinity])] }),
  verdictText: (r) => ({
    args: [
      { findings: r.pick([[], [finding(r)]]), ops: [1, 2], coverage: { promptTokens: 3, decodedTokens: 1 } },
      'cpu',
    ],
    anyObject: true,
  }),
};
