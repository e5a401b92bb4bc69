/** A grouped GEMM that gives each expert's first row to the expert before, and `megamoe explain`, which finds that out from its output. */
import { writeSafetensors } from '@megamoe/checkpoint';
import { createGemmKernels, stageFrom } from '@megamoe/gemm-native';
import { globalDecodeScaleFromAmax, quantizeNvfp4 } from '@megamoe/nvfp4-quant';
import { runCli } from 'megamoe';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// 24 tokens, 10 for expert 0, none for expert 1, 14 for expert 2.
const [tokens, numExperts, n, k] = [24, 3, 32, 256];
const expertOffsets = Int32Array.of(10, 10, 24);

let state = 1;
const random = () => (state = (state * 48271) % 0x7fffffff) / 0x3fffffff - 1; // the same numbers everywhere
const g = globalDecodeScaleFromAmax(1);
const quantize = (/** @type {number} */ m) =>
  quantizeNvfp4(
    Float32Array.from({ length: m * k }, () => random()),
    { m, k, globalDecodeScale: g },
  );
const a = quantize(tokens);
const b = quantize(numExperts * n);

// The kernel under test looks experts up with searchsorted left: row 10 goes to expert 0.
const kernels = createGemmKernels();
const weight = kernels.packExperts({
  numExperts,
  n,
  k,
  format: 'nvfp4',
  read: (e) => ({
    codes: b.codes.subarray((e * n * k) / 2, ((e + 1) * n * k) / 2),
    sf: b.sf.subarray((e * n * k) / 16, ((e + 1) * n * k) / 16),
  }),
});
const out = new Float32Array(tokens * n);
const alpha = new Float32Array(numExperts).fill(g * g);
const staged = kernels.createStaged({ slots: tokens, k, inputs: ['nvfp4'] });
stageFrom({ staged, rows: tokens, k, codes: a.codes, sf: a.sf });
const wrongOffsets = Int32Array.of(11, 11, 24);
kernels.groupedGemm({ w: weight, staged, slots: tokens, expertOffsets: wrongOffsets, alpha, out });

// A dump is what the operation was given and what came out; docs: packages/cli/docs/dumps.md.
const scales = new Float32Array(numExperts).fill(g);
const file = process.argv[2] ?? join(mkdtempSync(join(tmpdir(), 'megamoe-')), 'gemm-out.safetensors');
await writeSafetensors(
  file,
  [
    { name: 'in.a_codes', dtype: 'U8', shape: [tokens, k / 2], data: a.codes },
    { name: 'in.a_sf', dtype: 'F8_E4M3', shape: [tokens, k / 16], data: a.sf },
    { name: 'in.b_codes', dtype: 'U8', shape: [numExperts, n, k / 2], data: b.codes },
    { name: 'in.b_sf', dtype: 'F8_E4M3', shape: [numExperts, n, k / 16], data: b.sf },
    { name: 'in.expert_offsets', dtype: 'I32', shape: [numExperts], data: expertOffsets },
    { name: 'in.a_global_decode', dtype: 'F32', shape: [numExperts], data: scales },
    { name: 'in.b_global_decode', dtype: 'F32', shape: [numExperts], data: scales },
    { name: 'out', dtype: 'F32', shape: [tokens, n], data: out },
  ],
  { metadata: { op: 'grouped_gemm_nvfp4' } },
);
process.exitCode = await runCli(['explain', file]);
