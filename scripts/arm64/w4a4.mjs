/**
 * Copied beside installed packages and run there: one seeded W4A4 problem by the js backend and by the addon, staging included. Prints
 * JSON `{ isa, js, native }`, the last two digests of all bytes that came out; `native` is absent where no addon loads.
 */
import { createGemmKernels, gemmAddonInfo, stagedArrays } from '@megamoe/gemm-native';
import { createHash } from 'node:crypto';

const NUM_EXPERTS = 3;
const [n, k] = [37, 272]; // no multiple of any vector or tile
const expertOffsets = Int32Array.of(5, 5, 13); // the second expert gets no row
const rows = expertOffsets[NUM_EXPERTS - 1];

let state = 1;
const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
const bytes = (length, limit) => Uint8Array.from({ length }, () => Math.floor(random() * limit));
const x = Float32Array.from({ length: rows * k }, () => (random() - 0.5) * 8);
const experts = Array.from({ length: NUM_EXPERTS }, () => ({
  codes: bytes((n * k) / 2, 256),
  sf: bytes((n * k) / 16, 0x7f), // every E4M3 value that is no NaN
}));

function digest(backend) {
  const kernels = createGemmKernels({ backend });
  const w = kernels.packExperts({ numExperts: NUM_EXPERTS, n, k, format: 'nvfp4', read: (expert) => experts[expert] });
  const scale = Float32Array.of(0.001, 0.002, 0.003);
  const out = new Float32Array(rows * n).fill(NaN);
  const staged = kernels.createStaged({ slots: rows, k, inputs: ['nvfp4'] });
  const common = { slots: rows, expertOffsets, staged };
  kernels.stage({ ...common, x, k, slotToken: null, inputs: 'nvfp4', globalDecodeScale: scale });
  kernels.groupedGemm({ ...common, w, alpha: scale, out });
  const { codes, sf } = stagedArrays(staged);
  if (out.some(Number.isNaN)) throw new Error(`${backend}: an output was not written`);
  const hash = createHash('sha256').update(codes).update(sf).update(new Uint8Array(out.buffer));
  return hash.digest('hex').slice(0, 16);
}

const { loaded, isa, reason } = gemmAddonInfo();
const result = { isa, reason, js: digest('js'), ...(loaded && { native: digest('native') }) };
process.stdout.write(`${JSON.stringify(result)}\n`);
