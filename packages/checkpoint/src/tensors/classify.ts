import { ceilDiv } from '@megamoe/core';
import { badFile, listText, shapeText } from '../fail';
import type { TensorInfo } from '../safetensors/store';
import type { LinearSlot } from './layout';
import { FP8_TILE } from './matrix';
import type { FusedPlace, ModuleFormat, ModuleInfo, ScaleConvention } from './module-info';

/** Element types of unquantized matrices. */
export const FLOAT_FORMATS: Readonly<Record<string, ModuleFormat>> = { BF16: 'bf16', F32: 'f32', F16: 'f16' };
/** The same, as scales have them, the usual one first. */
const FLOAT_TYPES = ['F32', 'BF16', 'F16'];

/** Last names of the tensors that may stand beside a matrix. */
export const COMPANIONS = [
  'weight_scale',
  'weight_scale_2',
  'input_scale',
  'scale',
  'weight_packed',
  'weight_global_scale',
  'input_global_scale',
  'weight_shape',
] as const;

/** Throws unless a tensor has one of the dtypes and one of the shapes. */
export function expectTensor(
  info: TensorInfo,
  dtypes: readonly string[],
  shapes: readonly (readonly number[])[],
): void {
  const sameShape = shapes.some((s) => s.length === info.shape.length && s.every((n, i) => n === info.shape[i]));
  if (dtypes.includes(info.dtype) && sameShape) return;
  const want = `${dtypes.join(' or ')} ${shapes.map(shapeText).join(' or ')}`;
  throw badFile(info.file, `expected ${want}, found ${info.dtype} ${shapeText(info.shape)}`, { tensor: info.name });
}

/** A matrix and what lies beside it, before its format is known. */
interface Found {
  readonly slot: LinearSlot;
  readonly weight: TensorInfo;
  readonly companions: ReadonlyMap<string, TensorInfo>;
  readonly fused: FusedPlace | undefined;
}

/** Shape of a stored tensor whose part for one matrix is [rows of the matrix, width]. */
function storedShape({ slot, fused }: Found, tile: number, width: number): number[] {
  return fused ? [fused.experts, ceilDiv(fused.rows, tile), width] : [ceilDiv(slot.n, tile), width];
}

/** The companions a format must have; throws when one is missing, or when there are others than it may have. */
function takeCompanions(found: Found, what: string, needed: readonly string[], allowed: readonly string[]): void {
  const { slot, weight, companions } = found;
  for (const key of needed) {
    if (companions.has(key)) continue;
    const beside = companions.size ? `, found ${listText([...companions.keys()])} beside it` : '';
    throw badFile(weight.file, `${weight.dtype} weight without ${slot.name}.${key}: expected ${what}${beside}`, {
      tensor: weight.name,
    });
  }
  for (const [key, tensor] of companions) {
    if (needed.includes(key) || allowed.includes(key)) continue;
    throw badFile(tensor.file, `does not belong beside a ${weight.dtype} weight (${weight.name})`, {
      tensor: tensor.name,
    });
  }
}

function checkWidth({ slot: { n, k }, weight }: Found, format: string, block: number): void {
  if (k % block === 0) return;
  throw badFile(weight.file, `${format} needs a width that is a multiple of ${block}, this is [${n}, ${k}]`, {
    tensor: weight.name,
  });
}

function moduleInfo(
  { slot: { name, n, k }, weight, companions, fused }: Found,
  format: ModuleFormat,
  bitsPerElement: number,
  convention?: ScaleConvention,
): ModuleInfo {
  const row = fused ? fused.index * fused.rows + fused.row : 0;
  return {
    name,
    format,
    n,
    k,
    weight,
    offset: (row * k * bitsPerElement) / 8,
    companions,
    ...(fused ? { fused } : {}),
    ...(convention === undefined ? {} : { convention }),
  };
}

function float(found: Found, format: ModuleFormat): ModuleInfo {
  const { weight, slot } = found;
  takeCompanions(found, 'it alone', [], []);
  expectTensor(weight, found.fused ? Object.keys(FLOAT_FORMATS) : [weight.dtype], [storedShape(found, 1, slot.k)]);
  return moduleInfo(found, format, format === 'f32' ? 32 : 16);
}

/** Which name the block scales of a matrix have: DeepSeek's `scale`, or the `weight_scale` of compressed-tensors and Quark. */
const scaleKey = ({ companions }: Found): 'scale' | 'weight_scale' =>
  companions.get('weight_scale')?.shape.length === 2 && !companions.has('scale') ? 'weight_scale' : 'scale';

/**
 * FP8: E4M3 with one scale for each tile of 128 x 128, of DeepSeek (`scale`, E8M0 or F32), transformers (`weight_scale_inv`, read as `scale`) or
 * compressed-tensors' FP8_BLOCK (`weight_scale`, BF16). It multiplies in all of them.
 */
function fp8(found: Found): ModuleInfo {
  const { weight, companions, slot } = found;
  const key = scaleKey(found);
  takeCompanions(
    found,
    "weight and scale (FP8, one scale for 128 x 128; or transformers' weight_scale_inv)",
    [key],
    key === 'weight_scale' ? ['weight_shape'] : [],
  );
  expectTensor(weight, ['F8_E4M3'], [storedShape(found, 1, slot.k)]);
  const tiles = storedShape(found, FP8_TILE, ceilDiv(slot.k, FP8_TILE));
  expectTensor(companions.get(key)!, ['F8_E8M0', ...FLOAT_TYPES], [tiles]);
  return moduleInfo(found, 'fp8', 8);
}

/** Element types of E8M0 scales: writers from before safetensors knew their type store the bytes. */
const E8M0_DTYPES = ['F8_E8M0', 'U8'];

/**
 * E2M1 pairs with an E8M0 scale for 32 elements: DeepSeek's FP4 experts (`weight`, `scale`), compressed-tensors (`weight_packed`, `weight_scale`) and
 * Quark (`weight`, `weight_scale`), the same bytes in all of them.
 */
function mxfp4(found: Found): ModuleInfo {
  const { weight, companions, slot } = found;
  const key = scaleKey(found);
  takeCompanions(found, 'weight and scale (MXFP4)', [key], key === 'weight_scale' ? ['weight_shape'] : []);
  checkWeightShape(companions);
  checkWidth(found, 'MXFP4', 32);
  expectTensor(weight, ['I8', 'U8'], [storedShape(found, 1, slot.k / 2)]);
  expectTensor(companions.get(key)!, E8M0_DTYPES, [storedShape(found, 1, slot.k / 32)]);
  return moduleInfo(found, 'mxfp4', 4);
}

/** The shape that compressed-tensors stores beside packed codes. */
function checkWeightShape(companions: ReadonlyMap<string, TensorInfo>): void {
  const shape = companions.get('weight_shape');
  if (shape) expectTensor(shape, ['I64', 'I32'], [[2]]);
}

/** Whether 4-bit codes have MXFP4's scales beside them, and no global scale, which NVFP4 has. */
function hasMxScales({ companions }: Found): boolean {
  const scale = companions.get('weight_scale');
  if (companions.has('weight_scale_2') || companions.has('weight_global_scale')) return false;
  return companions.has('scale') || (scale !== undefined && E8M0_DTYPES.includes(scale.dtype));
}

/** NVFP4 as ModelOpt (scales multiply) or compressed-tensors (global scales divide) writes it. */
function nvfp4(found: Found, convention: 'modelopt' | 'compressed-tensors'): ModuleInfo {
  const { weight, companions, slot } = found;
  const isModelOpt = convention === 'modelopt';
  checkWidth(found, 'NVFP4', 16);
  const [global, input] = isModelOpt
    ? ['weight_scale_2', 'input_scale']
    : ['weight_global_scale', 'input_global_scale'];
  takeCompanions(
    found,
    isModelOpt
      ? 'weight, weight_scale and weight_scale_2 (NVFP4)'
      : 'weight_packed, weight_scale and weight_global_scale (compressed-tensors NVFP4)',
    ['weight_scale', global],
    isModelOpt ? [input] : [input, 'weight_shape'],
  );
  expectTensor(weight, ['U8'], [storedShape(found, 1, slot.k / 2)]);
  expectTensor(companions.get('weight_scale')!, ['F8_E4M3'], [storedShape(found, 1, slot.k / 16)]);
  for (const key of [global, input]) {
    const scalar = companions.get(key);
    if (scalar) expectTensor(scalar, ['F32'], [[], [1]]);
  }
  checkWeightShape(companions);
  return moduleInfo(found, 'nvfp4', 4, convention);
}

/**
 * Decides by dtype, companions and shape how a module is stored. Throws CheckpointError for a shape, dtype or companion that does not fit.
 *
 * @param companions what lies beside it, by last name ({@link COMPANIONS})
 * @param fused      where it lies in a tensor that holds all experts
 */
export function classify(
  slot: LinearSlot,
  weight: TensorInfo,
  companions: ReadonlyMap<string, TensorInfo>,
  fused?: FusedPlace,
): ModuleInfo {
  const found: Found = { slot, weight, companions, fused };
  const { dtype } = weight;
  const isFourBit = dtype === 'U8' || dtype === 'I8';
  if (isFourBit && hasMxScales(found)) return mxfp4(found);
  if (weight.name.endsWith('.weight_packed') || companions.has('weight_global_scale'))
    return nvfp4(found, 'compressed-tensors');
  const unquantized = FLOAT_FORMATS[dtype];
  if (unquantized) return float(found, unquantized);
  if (dtype === 'F8_E4M3') return fp8(found);
  if (dtype === 'I8' || (dtype === 'U8' && fused !== undefined)) return mxfp4(found);
  if (dtype === 'U8') return nvfp4(found, 'modelopt');
  const want = fused
    ? `BF16, F32, F16, F8_E4M3 ${shapeText(storedShape(found, 1, slot.k))} or I8 (MXFP4)`
    : `BF16, F32, F16, F8_E4M3 ${shapeText([slot.n, slot.k])}, I8 (MXFP4) or U8 (NVFP4)`;
  throw badFile(weight.file, `expected ${want}, found ${dtype} ${shapeText(weight.shape)}`, { tensor: weight.name });
}
