export { openCheckpoint } from './checkpoint';
export type { Checkpoint } from './checkpoint';
export { FP8_TILE, matrixRowBytes, matrixRows, matrixToFloat32 } from './tensors/matrix';
export type {
  Bf16Tensor,
  ExpertScales,
  ExpertTensor,
  F32Tensor,
  Fp8Tensor,
  LinearTensor,
  MatrixTensor,
  Mxfp4Tensor,
  Nvfp4Tensor,
} from './tensors/matrix';
export { formatName, formatSummary, formatTable, moduleBytes } from './tensors/summary';
export type { FormatRow } from './tensors/summary';
export { implausibleGlobalScale } from './tensors/plausible';
export { globalScaleOf } from './tensors/global-scales';
export type { GlobalScale, GlobalScaleKey } from './tensors/global-scales';
export { scanBlockScales } from './tensors/scan';
export type { BlockScales } from './tensors/scan';
export { scaleOf } from './tensors/module-info';
export { parseConfig, readConfig } from './config/config';
export type { ParsedConfig } from './config/config';
export type { YarnParameters } from '@megamoe/core';
export type { CompressRatio, ModelConfig, ScoringFunc } from './config/types';
export { readGenerationConfig } from './config/generation';
export type { GenerationConfig } from './config/generation';
export type { QuantizationManifest } from './config/manifest';
export type { DraftLayers } from './tensors/draft';
export { canonicalName } from './tensors/names';
export type { ExpertMatrix } from './tensors/layout';
export type { FusedPlace, ModuleFormat, ModuleInfo, ScaleConvention } from './tensors/module-info';
export { SafetensorsFile } from './safetensors/file';
export { ReadBuffers } from './safetensors/buffers';
export type { ReadTarget } from './safetensors/buffers';
export { parseHeader, readHeaderLength } from './safetensors/header';
export type { SafetensorsHeader, TensorEntry } from './safetensors/header';
export { DTYPES, dtypeBits } from './safetensors/dtypes';
export type { Dtype } from './safetensors/dtypes';
export { openTensorStore } from './safetensors/store';
export type { TensorInfo, TensorStore } from './safetensors/store';
export { loadTokenizer } from './text/tokenizer';
export type { DecodeOptions, EncodeOptions, Tokenizer, TokenStream } from './text/tokenizer';
export { isSameFile, writeTarget } from './files/target';
export { makeFolders } from './files/folders';
export { isThere } from './files/there';
export type { WriteTarget } from './files/target';
export { writeFileInPieces } from './files/write-file';
export type { Put, WriteContent } from './files/write-file';
export { writeSafetensors } from './safetensors/writer';
export type { TensorData, TensorToWrite, WriteOptions } from './safetensors/writer';
export { writeCheckpoint } from './safetensors/write-checkpoint';
export type { WriteCheckpointOptions } from './safetensors/write-checkpoint';
