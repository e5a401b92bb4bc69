export {
  createSfGeometry,
  kSfOf,
  padKSf,
  rowsPerTile,
  SF_LAYOUTS,
  sfCoordinate,
  sfOffset,
  sfOffsetTable,
} from './geometry';
export type { SfCoordinate, SfGeometry, SfLayout, SfShape, SfVecSize } from './geometry';
export { rowMajor, swizzleScales, unswizzleScales } from './swizzle';
export type { SfStrides } from './swizzle';
export { paddedSfOffsets, raggedKSfOffsets, sfCapacityRows } from './offsets';
export {
  assembleScales2d2d,
  assembleScales2d3d,
  assembleScales2d3dFixed,
  assembleScales3d,
  disassembleScales2d3d,
} from './assembly';
export type { AssembledScales, FixedShape, RaggedKShape, RaggedShape, WeightScalesShape } from './assembly';
export { packedSfLength, packSfWords, unpackSfWords } from './packed';
export type { PackedOrder, PackedShape } from './packed';
export { checkSwizzled, verifySwizzle } from './verify';
export type { SfMismatch, Swizzler, VerifyOptions } from './verify';
