import { isThere, writeSafetensors, type TensorToWrite } from '@megamoe/checkpoint';
import { loadModel, Trace } from '@megamoe/model';
import { Command } from 'commander';
import { messageOf, UsageError } from '../errors';
import { checkTargets } from '../files';
import type { CliIo } from '../io';
import { readInput } from '../read-file';
import { loadReporter } from '../load-progress';
import { addModelOptions, fileToWrite, integer, loadOptions, type ModelOptions } from '../options';

const DTYPES = { f32: 'F32', i32: 'I32', u8: 'U8' } as const;

interface LogitsFlags extends ModelOptions {
  readonly tokenIds: string;
  readonly out: string;
  readonly stepFrom?: number;
  readonly trace?: boolean;
  readonly maxChunk: number;
}

/** `megamoe logits`. */
export function logitsCommand(io: CliIo): Command {
  return addModelOptions(new Command('logits'))
    .description('Compute the logits of every position of a token sequence and write them as safetensors.')
    .requiredOption('--token-ids <ids>', 'token ids as 1,2,3, or a JSON file with a list of them')
    .requiredOption('--out <file>', 'safetensors file to write: F32 logits [S, V]', fileToWrite)
    .option('--step-from <p>', 'prefill p tokens, then decode one at a time through the cache', integer(1))
    .option('--max-chunk <n>', 'most tokens computed in one step', integer(1, 65536), 256)
    .option('--trace', 'add per-layer tensors: streams, hyper-connections, experts, compressed keys, visible sets')
    .addHelpText(
      'after',
      '\nExample:\n  megamoe logits --model models/tiny --token-ids 0,1000,2000 --out logits.safetensors --trace',
    )
    .action((flags: LogitsFlags) => runLogits(io, flags));
}

/** Token ids from a list or a JSON file: an array, or an object with `input_ids` or `tokenIds`. */
export async function readTokenIds(text: string, signal: AbortSignal): Promise<number[]> {
  let ids: unknown;
  if (/^\s*-?\d+(\s*,\s*-?\d+)*\s*$/.test(text)) ids = text.split(',').map(Number);
  else if (!isThere(text))
    throw new UsageError(`logits: --token-ids must be like 1,2,3 or a JSON file, and there is no file "${text}"`);
  else {
    let json: Buffer;
    try {
      json = await readInput(text, signal);
    } catch (cause) {
      signal.throwIfAborted();
      throw new Error(`${text} cannot be read: ${messageOf(cause)}`, { cause });
    }
    try {
      ids = JSON.parse(json.toString());
    } catch (e) {
      throw new UsageError(`logits: --token-ids file "${text}" is no JSON`, { cause: e });
    }
    if (ids !== null && typeof ids === 'object' && !Array.isArray(ids)) {
      const fields = ids as { input_ids?: unknown; tokenIds?: unknown };
      ids = fields.input_ids ?? fields.tokenIds;
    }
  }
  if (!Array.isArray(ids) || !ids.every((id) => Number.isInteger(id))) {
    throw new UsageError(`logits: --token-ids "${text}" must hold a list of integers`);
  }
  if (ids.length === 0) throw new UsageError(`logits: --token-ids "${text}" is empty; give at least one token`);
  return ids as number[];
}

async function runLogits(io: CliIo, flags: LogitsFlags): Promise<void> {
  checkTargets('logits', { '--model': flags.model, '--token-ids': flags.tokenIds }, { '--out': flags.out });
  const tokenIds = await readTokenIds(flags.tokenIds, io.signal);
  const stepFrom = flags.stepFrom ?? tokenIds.length;
  if (stepFrom > tokenIds.length) {
    throw new UsageError(`logits: --step-from ${stepFrom} is past the ${tokenIds.length} tokens given`);
  }
  const report = loadReporter(io);
  const model = await loadModel(flags.model, {
    ...loadOptions(flags),
    maxChunk: flags.maxChunk,
    signal: io.signal,
    onPlan: report.plan,
    onProgress: report.progress,
  });
  report.done(model);
  const v = model.config.vocabSize;
  const sequence = model.createSequence();
  const trace = flags.trace ? new Trace() : undefined;
  const logits = new Float32Array(tokenIds.length * v);
  const rows = (from: number, to: number): void => {
    const out = logits.subarray(from * v, to * v);
    model.forward([{ sequence, tokenIds: tokenIds.slice(from, to) }], {
      logits: 'all',
      out,
      ...(trace ? { trace } : {}),
    });
  };
  io.progress?.(`prompt of ${stepFrom} tokens`);
  rows(0, stepFrom);
  for (let at = stepFrom; at < tokenIds.length; at++) {
    io.progress?.(`position ${at} of ${tokenIds.length}`);
    rows(at, at + 1);
    if (at % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
    io.signal.throwIfAborted();
  }
  const ids = Int32Array.from(tokenIds);
  const tensors: TensorToWrite[] = [{ name: 'logits', dtype: 'F32', shape: [ids.length, v], data: logits }];
  if (trace) {
    tensors.push({ name: 'input_ids', dtype: 'I32', shape: [ids.length], data: ids });
    tensors.push({ name: 'positions', dtype: 'I32', shape: [ids.length], data: ids.map((_, i) => i) });
    for (const [name, { dtype, shape, data }] of trace.tensors())
      tensors.push({ name, dtype: DTYPES[dtype], shape, data });
  }
  await writeSafetensors(flags.out, tensors, { signal: io.signal });
  io.err(`megamoe: wrote ${tensors.length} tensor${tensors.length === 1 ? '' : 's'} to ${flags.out}\n`);
}
