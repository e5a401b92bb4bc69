/** Lays block scales out as a Blackwell grouped GEMM reads them, per expert, and catches the two swizzles that look right and are not. */
import { assembleScales2d3d, createSfGeometry, sfOffset, swizzleScales, verifySwizzle } from '@megamoe/sf-layout';

// One expert: 200 rows of K = 512, one scale for each 16 elements.
const geometry = createSfGeometry({ rows: 200, kSf: 512 / 16 });
console.log(
  `200 x 32 scales take ${geometry.allocationBytes} bytes in 128x4 tiles: rows are padded to ${geometry.rowsPad}`,
);
for (const [row, kSf] of /** @type {const} */ ([
  [0, 0],
  [0, 1],
  [1, 0],
  [32, 0],
  [128, 0],
]))
  console.log(`  scale of row ${row}, block ${kSf} is byte ${sfOffset(geometry, row, kSf)}`);

// Three experts own 200 rows together: each is padded alone, so that its tiles start afresh.
const sf = Uint8Array.from({ length: 200 * 32 }, (_, i) => i % 127);
const { sfSwizzled, sfOffsets } = assembleScales2d3d(sf, Int32Array.of(40, 40, 200), { kSf: 32 });
console.log(`40, 0 and 160 rows: padded ends ${sfOffsets.join(', ')}, ${sfSwizzled.length} bytes`);
const whole = swizzleScales(sf, geometry);
const alike = whole.every((byte, i) => byte === sfSwizzled[i]);
console.log(
  `the same bytes as one swizzle over all 200 rows? ${alike ? 'yes' : 'no: expert 2 would read the scales of other rows'}`,
);

// The verifier runs your swizzle on scales that spell their own position, so that it can say where each one went.
/** @type {[string, (scales: Uint8Array) => Uint8Array][]} */
const swizzles = [
  ['ours', (scales) => swizzleScales(scales, geometry)],
  [
    'scales left row-major',
    (scales) => Uint8Array.from({ length: geometry.allocationBytes }, (_, i) => scales[i] ?? 0),
  ],
  ['swizzled twice', (scales) => swizzleScales(swizzleScales(scales, geometry).subarray(0, 200 * 32), geometry)],
];
for (const [what, swizzle] of swizzles) {
  const wrong = verifySwizzle(swizzle, geometry);
  console.log(
    `${what}: ${wrong === undefined ? 'right' : `wrong at row ${wrong.row}, block ${wrong.kSf}, byte ${wrong.offset}`}`,
  );
}
