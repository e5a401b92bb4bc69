/** Quantizes a tensor to NVFP4 and looks at what it costs, and at what a global scale that is too small or too large does to it. */
import {
  amaxOf,
  dequantizeNvfp4,
  globalDecodeScale,
  globalDecodeScaleFromAmax,
  quantizationError,
  quantizeNvfp4,
  saturationStatistics,
} from '@megamoe/nvfp4-quant';

// 64 rows of 256 bell-shaped weights; every hundredth one is 20 times as large, as in real layers.
const [m, k] = [64, 256];
let state = 1;
const uniform = () => (state = (state * 48271) % 2147483647) / 2147483647;
const weights = Float32Array.from({ length: m * k }, (_, i) => {
  const bell = uniform() + uniform() + uniform() + uniform() - 2;
  return bell * (i % 100 === 0 ? 0.4 : 0.02);
});

const right = globalDecodeScaleFromAmax(amaxOf(weights)); // amax / (6 * 448): the largest block scale just fits E4M3
console.log(`${m} x ${k} weights, ${4 * m * k} bytes as float32, ${(m * k * 9) / 16} as NVFP4`);
console.log('global scale      relative error   blocks whose scale is saturated');
for (const [what, factor] of /** @type {const} */ ([
  ['right', 1],
  ['8 x too small', 1 / 8],
  ['8 x too large', 8],
  ['4096 x too large', 4096],
])) {
  const shape = { m, k, globalDecodeScale: globalDecodeScale(right * factor) };
  const { codes, sf } = quantizeNvfp4(weights, shape);
  const { relative } = quantizationError(dequantizeNvfp4(codes, sf, shape), weights);
  const { saturatedScales, blocks } = saturationStatistics(codes, sf, shape);
  console.log(
    `${what.padEnd(18)}${(100 * relative).toFixed(1).padStart(8)} %${`${saturatedScales} of ${blocks}`.padStart(22)}`,
  );
}
console.log(
  'A scale that is too small cuts off the largest weights; one that is a little too large costs almost nothing.',
);
