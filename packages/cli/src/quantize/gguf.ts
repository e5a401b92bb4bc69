import {
  canonicalName,
  matrixToFloat32,
  ReadBuffers,
  writeFileInPieces,
  type Checkpoint,
  type ModuleInfo,
} from '@megamoe/checkpoint';
import { CheckpointError } from '@megamoe/core';
import { packGguf } from '@megamoe/nvfp4-quant';
import { basename } from 'node:path';
import { GGUF_TYPES, ggufBytes, ggufHeader, type GgufTensor } from './gguf-format';
import { ggufMetadata } from './gguf-metadata';
import { EXPERT_STACKS, ggufName } from './gguf-names';
import type { Quantizer } from './quantizer';
import type { Unit } from './select';
import { pieces } from './tensors';

/** What {@link writeGguf} needs. */
export interface GgufOptions {
  readonly units: readonly Unit[];
  readonly quantizer: Quantizer;
  /** Input scales of the matrices that get one. */
  readonly inputs: ReadonlyMap<string, number>;
  readonly signal: AbortSignal;
  readonly onProgress: (done: number, total: number) => void;
}

/** A tensor and what writes its data, piece by piece. */
interface Entry extends GgufTensor {
  readonly data?: () => Iterable<Uint8Array>;
}

const bytesOf = (x: ArrayBufferView): Uint8Array => new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
const FLOAT_TYPES = { F32: 'F32', BF16: 'BF16', F16: 'F16' } as const;
/** Rows of a dequantized matrix that are in memory at a time. */
const ROWS = 256;

/**
 * Writes a GGUF v3 file: quantized matrices as NVFP4 blocks, routed experts stacked `[E, N, K]`, their global scales beside them as F32
 * `NAME.scale` and `NAME.input_scale` (one for each expert), which are multiplied after the product. Everything else stays BF16, F16
 * or F32; FP8 and MXFP4 matrices that are not quantized become F32. There is no tokenizer in the file.
 * @throws CheckpointError for a quantized matrix whose width is no multiple of 64
 */
export async function writeGguf(path: string, checkpoint: Checkpoint, o: GgufOptions): Promise<void> {
  const blocks = new Map<string, Entry>();
  const scales = new Map<string, Float32Array>();
  const quantized = new Set<string>();
  /** Where a quantized matrix goes: its tensor, and which expert of the stack it is. */
  const places = new Map<string, { tensor: string; expert: number }>();
  const scalesOf = (name: string, count: number): Float32Array => {
    const made = scales.get(name) ?? new Float32Array(count);
    scales.set(name, made);
    return made;
  };
  for (const info of o.units.flat()) {
    const { name, n, k } = info;
    quantized.add(name);
    if (k % GGUF_TYPES.NVFP4.block !== 0)
      throw new CheckpointError(`quantize: ${name} has a width of ${k}; GGUF NVFP4 needs a multiple of 64`, {
        tensor: name,
      });
    const [, layer, expert, matrix] = /^layers\.(\d+)\.ffn\.experts\.(\d+)\.(w[123])$/.exec(name) ?? [];
    const count = checkpoint.config.numExperts;
    if (matrix === undefined) {
      const tensor = ggufName(name)!;
      blocks.set(tensor, { name: `${tensor}.weight`, type: 'NVFP4', shape: [n, k] });
      places.set(name, { tensor, expert: 0 });
      scalesOf(`${tensor}.scale`, 1);
    } else {
      const tensor = `blk.${layer}.${EXPERT_STACKS[matrix as 'w1']}`;
      blocks.set(tensor, { name: `${tensor}.weight`, type: 'NVFP4', shape: [count, n, k] });
      places.set(name, { tensor, expert: Number(expert) });
      scalesOf(`${tensor}.scale`, count);
    }
    const input = o.inputs.get(name);
    if (input !== undefined) {
      const place = places.get(name)!;
      scalesOf(`${place.tensor}.input_scale`, matrix === undefined ? 1 : count)[place.expert] = input;
    }
  }
  const others = [...unquantizedMatrices(checkpoint, quantized), ...plainTensors(checkpoint)];
  const scaleEntries = [...scales].map(([name, values]): Entry => ({ name, type: 'F32', shape: [values.length] }));
  const entries: Entry[] = [...others, ...blocks.values(), ...scaleEntries];
  const { header, starts, size } = ggufHeader(ggufMetadata(checkpoint.config, basename(checkpoint.dir)), entries);
  const start = new Map(entries.map((e, i) => [e.name, starts[i]!]));
  let done = 0;
  const breathe = async (bytes: number): Promise<void> => {
    o.onProgress((done += bytes), size - header.length);
    await new Promise((resolve) => setImmediate(resolve));
    o.signal.throwIfAborted();
  };
  await writeFileInPieces(path, async (put) => {
    put(header, 0);
    for (const entry of others) {
      let at = start.get(entry.name)!;
      for (const piece of entry.data!()) {
        put(piece, at);
        at += piece.length;
        await breathe(piece.length);
      }
    }
    for (const unit of o.units) {
      const made = o.quantizer.quantize(unit);
      for (const [i, info] of unit.entries()) {
        const { tensor, expert } = places.get(info.name)!;
        const packed = packGguf(made[i]!.codes, made[i]!.sf, { m: info.n, k: info.k });
        put(packed, start.get(`${tensor}.weight`)! + expert * packed.length);
        scales.get(`${tensor}.scale`)![expert] = made[i]!.weightGlobalDecodeScale;
        await breathe(packed.length);
      }
    }
    for (const [name, values] of scales) put(bytesOf(values), start.get(name)!);
    const end = entries.at(-1)!;
    put(new Uint8Array(size - start.get(end.name)! - ggufBytes(end)), start.get(end.name)! + ggufBytes(end)); // padding is part of the file
  });
}

/** Matrices that keep their values: stacks of experts that were left, and dense ones. */
function unquantizedMatrices(checkpoint: Checkpoint, quantized: ReadonlySet<string>): Entry[] {
  const stacks = new Map<string, ModuleInfo[]>();
  for (const info of checkpoint.modules.values()) {
    if (quantized.has(info.name)) continue;
    const [, layer, matrix] = /^layers\.(\d+)\.ffn\.experts\.\d+\.(w[123])$/.exec(info.name) ?? [];
    const name = matrix === undefined ? ggufName(info.name)! : `blk.${layer}.${EXPERT_STACKS[matrix as 'w1']}`;
    stacks.set(name, [...(stacks.get(name) ?? []), info]);
  }
  const buffers = new ReadBuffers();
  return [...stacks].map(([name, infos]): Entry => {
    const [{ n, k }] = infos as [ModuleInfo];
    const isBf16 = infos.every((i) => i.format === 'bf16');
    return {
      name: `${name}.weight`,
      type: isBf16 ? 'BF16' : 'F32',
      shape: name.endsWith('_exps') ? [infos.length, n, k] : [n, k],
      *data() {
        for (const info of infos) {
          for (let row = 0; row < n; row += ROWS) {
            const t = checkpoint.linearRows(info.name, n, k, row, Math.min(ROWS, n - row), buffers);
            yield bytesOf(isBf16 && t.format === 'bf16' ? t.data : matrixToFloat32(t));
          }
        }
      },
    };
  });
}

/** Norms, biases, tables. Integers become I32, which is what readers of the table want. */
function plainTensors(checkpoint: Checkpoint): Entry[] {
  const buffers = new ReadBuffers();
  const out: Entry[] = [];
  for (const info of checkpoint.tensors.values()) {
    const canonical = canonicalName(info.name);
    const name = ggufName(canonical);
    if (name === undefined || checkpoint.modules.has(canonical)) continue;
    const { dtype, shape, bytes } = info;
    if (dtype === 'I64' || dtype === 'I32') {
      out.push({ name, type: 'I32', shape, data: () => [bytesOf(checkpoint.ints(canonical, shape))] });
    } else if (dtype in FLOAT_TYPES) {
      const type = FLOAT_TYPES[dtype as keyof typeof FLOAT_TYPES];
      out.push({ name, type, shape, data: () => pieces(checkpoint, info.name, bytes, buffers) });
    }
  }
  return out;
}
