export {
  amaxOf,
  compressedTensorsGlobalScale,
  gemmAlpha,
  globalDecodeScale,
  globalDecodeScaleFromAmax,
  globalEncodeScale,
  likelyDirection,
  MIN_INPUT_SCALE,
  NVFP4_RANGE,
  toGlobalDecodeScale,
  toGlobalEncodeScale,
} from './scales';
export type { GlobalDecodeScale, GlobalEncodeScale } from './scales';
export { dequantizeNvfp4, quantizeNvfp4 } from './modelopt';
export type { Nvfp4Matrix, Nvfp4Shape } from './modelopt';
export { dequantizeCompressedTensors, quantizeCompressedTensors } from './compressed-tensors';
export type { CompressedTensorsShape } from './compressed-tensors';
export { packNibbles, reorderNibbles, unpackNibbles } from './nibbles';
export type { CodesShape, NibbleOrder } from './nibbles';
export { GGUF_BLOCK, GGUF_BLOCK_BYTES, packGguf, unpackGguf } from './gguf';
export { castMxfp4ToNvfp4, dequantizeMxfp4, mxfp4MaxExponent } from './mxfp4';
export type { Mxfp4Cast, Mxfp4CastShape } from './mxfp4';
export { quantizationError, saturationStatistics } from './statistics';
export type { QuantizationError, SaturationStatistics } from './statistics';
