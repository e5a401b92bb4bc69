import { join } from 'node:path';
import { isThere, loadTokenizer, openCheckpoint, type Checkpoint } from '@megamoe/checkpoint';
import { createBackend } from '@megamoe/model';
import { verdictText, verifyBackend } from '@megamoe/verify';
import { Command } from 'commander';
import { CheckFailed, UsageError } from '../errors';
import { checkTargets, writeFile } from '../files';
import type { CliIo } from '../io';
import { ProgressLine } from '../progress';
import { addModelOptions, fileToWrite, integer, type ModelOptions } from '../options';
import { reportText, type VerifyReport } from '../verify/report';
import { readTokenIds } from './logits';

/** Long enough to leave the window, to close a compressed window of 128 tokens and to make the indexer of a small model choose. */
const DEFAULT_PROMPT = `The capital of France is Paris, and the capital of Italy is Rome. What is 7 plus 5? It is 12.
A river begins as rain on a hill. The rain runs into a stream, the stream into a river, and the river into the sea, where the sun lifts
it into the air again, so that it may fall on another hill. When the snow melts in spring the water rises, and those who live near it
look to their walls and doors. Hydrogen and oxygen make water; gold, iron and silver do not. "Tell me," said the old man to the child,
"which is older, the river or the town?"`;

interface VerifyFlags extends ModelOptions {
  readonly prompt?: string;
  readonly tokenIds?: string;
  readonly decode: number;
  readonly maxChunk: number;
  readonly keepGoing?: boolean;
  readonly json?: boolean;
  readonly html?: string;
  readonly dump?: string;
}

/** `megamoe verify`. */
export function verifyCommand(io: CliIo): Command {
  return addModelOptions(new Command('verify'), { tuning: false })
    .description(
      'Run a backend and the exact reference side by side, operation by operation, each on the inputs that the backend had, and name the first that is out of bound.',
    )
    .option('--prompt <text>', 'text to run (default: one that reaches all parts of a small model)')
    .option('--token-ids <ids>', 'token ids instead of text: 1,2,3 or a JSON file')
    .option('--decode <n>', 'tokens to decode after the prompt, one step each', integer(0), 4)
    .option('--max-chunk <n>', 'most tokens computed in one step', integer(1, 65536), 256)
    .option('--keep-going', 'go on after an operation that is out of bound')
    .option('--dump <dir>', 'write the inputs and the output of what fails, for megamoe explain')
    .option('--html <file>', 'write the report as a page', fileToWrite)
    .option('--json', 'print the report as one JSON object')
    .addHelpText(
      'after',
      '\nExit code 1 when an operation is out of bound.\n\nExample:\n  megamoe verify --backend cpu --isa avx2 --html verify.html',
    )
    .action((flags: VerifyFlags) => runVerify(io, flags));
}

/** The tokens to run: given, or BOS and the text. */
async function promptOf(flags: VerifyFlags, { config, dir }: Checkpoint, signal: AbortSignal): Promise<number[]> {
  if (flags.prompt !== undefined && flags.tokenIds !== undefined)
    throw new UsageError('verify: give --prompt or --token-ids, not both');
  const limit = config.maxPositionEmbeddings - flags.decode;
  let ids: number[];
  if (flags.tokenIds !== undefined) ids = await readTokenIds(flags.tokenIds, signal);
  else {
    if (!isThere(join(dir, 'tokenizer.json')))
      throw new UsageError(`verify: ${dir} has no tokenizer.json; give --token-ids`);
    ids = Array.from(loadTokenizer(dir).encode(flags.prompt ?? DEFAULT_PROMPT));
    if (ids[0] !== config.bosTokenId) ids.unshift(config.bosTokenId);
    if (flags.prompt === undefined) ids = ids.slice(0, Math.max(1, limit));
  }
  if (ids.length > limit)
    throw new UsageError(
      `verify: ${ids.length} tokens and ${flags.decode} to decode do not fit: the model takes ${config.maxPositionEmbeddings}`,
    );
  const bad = ids.findIndex((id) => id < 0 || id >= config.vocabSize);
  if (bad >= 0) throw new UsageError(`verify: token id ${ids[bad]} at index ${bad} is not in [0, ${config.vocabSize})`);
  return ids;
}

async function runVerify(io: CliIo, flags: VerifyFlags): Promise<void> {
  const reads = { '--model': flags.model, '--token-ids': flags.tokenIds };
  checkTargets('verify', reads, { '--html': flags.html }, { '--dump': flags.dump });
  const started = performance.now();
  const { backend: name, isa, threads, device, gpuMath, kv = 'f32' } = flags;
  const backend = createBackend({ backend: name, isa, threads, device, gpuMath });
  io.err(`megamoe: backend ${backend.description}\n`);
  const source = openCheckpoint(flags.model);
  const line = new ProgressLine(io, String);
  let report: VerifyReport;
  try {
    const result = await verifyBackend({
      ...{ source, backend, tokenIds: await promptOf(flags, source, io.signal), decode: flags.decode },
      ...{ maxChunk: flags.maxChunk, activations: flags.activations, kv, keepGoing: flags.keepGoing ?? false },
      ...{ dumpDir: flags.dump, signal: io.signal, onProgress: (done, total, what) => line.update(done, total, what) },
    });
    const { passed, findings, ops, coverage, tokenIds, activations } = result;
    report = {
      ...{
        model: flags.model,
        backend: backend.description,
        activations,
        passed,
        first: findings[0] ?? null,
        findings,
      },
      ...{ ops, coverage, tokenIds, seconds: Math.round(performance.now() - started) / 1000 },
      warnings: [...source.warnings, ...result.warnings],
    };
  } finally {
    line.clear();
    source.close();
    backend.dispose();
  }
  if (flags.html !== undefined) {
    const { reportHtml } = await import('../verify/report-html');
    const own = flags.tokenIds === undefined ? '' : ' --token-ids ...';
    const { model, backend: asked, activations, decode } = flags;
    const gpu = `${gpuMath === undefined ? '' : ` --gpu-math ${gpuMath}`}${kv === 'f32' ? '' : ` --kv ${kv}`}`;
    const command = `megamoe verify --model ${model} --backend ${asked} --isa ${isa}${gpu} --activations ${activations} --decode ${decode}${own}`;
    await writeFile(flags.html, reportHtml(report, command), io.signal);
    io.err(`megamoe: wrote ${flags.html}\n`);
  }
  for (const warning of report.warnings) io.err(`megamoe: warning: ${warning}\n`);
  io.out(flags.json ? `${JSON.stringify(report)}\n` : reportText(report));
  if (!report.passed) throw new CheckFailed(`verify: ${verdictText(report, report.backend)}`);
}
