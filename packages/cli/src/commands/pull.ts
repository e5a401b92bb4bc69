import { isModelName, printable, pullModel, type PulledFile, type PullPlan, type PullProgress } from '@megamoe/hub';
import { Command, InvalidArgumentError } from 'commander';
import type { CliIo } from '../io';
import { collect } from '../options';
import { ProgressLine } from '../progress';
import { bytesText, durationText } from '../units';

interface PullFlags {
  readonly revision: string;
  readonly include?: string[];
  readonly json?: boolean;
}

/** `megamoe pull ORG/NAME`. */
export function pullCommand(io: CliIo): Command {
  return new Command('pull')
    .description(
      'Download a checkpoint into the Hugging Face cache, where --model ORG/NAME finds it. An interrupted pull goes on where it was.',
    )
    .argument('<name>', 'model on the Hub, as ORG/NAME', modelName)
    .option('--revision <name>', 'branch, tag or commit', 'main')
    .option(
      '--include <glob>',
      "files to take instead of what loads, '*' for all; may be given several times",
      collect(String),
    )
    .option(
      '--json',
      'print one JSON object: name, revision, commit, dir, files, leftOut, bytes, fetchedBytes, seconds',
    )
    .addHelpText(
      'after',
      '\nHF_HOME or HF_HUB_CACHE name the cache, HF_TOKEN or "hf auth login" give access to private and gated models, HF_ENDPOINT names another server.\n' +
        '\nExamples:\n  megamoe pull deepseek-ai/DeepSeek-V4-Flash\n  megamoe generate "The capital of Italy is" --model deepseek-ai/DeepSeek-V4-Flash',
    )
    .action((name: string, flags: PullFlags) => runPull(io, name, flags));
}

function modelName(text: string): string {
  if (isModelName(text)) return text;
  throw new InvalidArgumentError('Expected ORG/NAME.');
}

async function runPull(io: CliIo, name: string, { revision, include, json }: PullFlags): Promise<void> {
  const started = performance.now();
  const report = new PullReport(io);
  let pulled;
  try {
    pulled = await pullModel(name, {
      ...{ revision, include, signal: io.signal },
      onPlan: (plan) => io.err(planText(plan)),
      onProgress: (progress) => report.progress(progress),
      onNotice: (text) => report.line(text),
    });
  } finally {
    report.end();
  }
  const ms = performance.now() - started;
  io.err(`megamoe: ${name} is whole: ${bytesText(pulled.fetchedBytes)} fetched in ${durationText(ms)}\n`);
  const { revision: asked, commit, dir, files, leftOut, bytes, fetchedBytes } = pulled;
  const result = { name, revision: asked, commit, dir, files, leftOut, bytes, fetchedBytes };
  io.out(json ? `${JSON.stringify({ ...result, seconds: Math.round(ms) / 1000 })}\n` : `${dir}\n`);
}

const total = (files: readonly PulledFile[]): number => files.reduce((sum, { bytes }) => sum + bytes, 0);
const count = (files: readonly PulledFile[]): string => `${files.length} file${files.length === 1 ? '' : 's'}`;

/** What will be fetched and what will not, before it starts. */
function planText({ name, revision, commit, files, leftOut, bytes, freeBytes }: PullPlan): string {
  const free = Number.isFinite(freeBytes) ? `, ${bytesText(freeBytes)} free` : '';
  const some = leftOut.slice(0, 4).map(({ path }) => printable(path));
  const more = leftOut.length > some.length ? ', ...' : '';
  const left =
    leftOut.length === 0
      ? ''
      : `megamoe: left out: ${count(leftOut)}, ${bytesText(total(leftOut))} (${some.join(', ')}${more}); --include '*' takes all\n`;
  return (
    `megamoe: ${name} at ${revision === commit ? '' : `${revision}, `}commit ${commit}\n` +
    `megamoe: ${count(files)}, ${bytesText(total(files))}; ${bytesText(bytes)} to fetch${free}\n${left}`
  );
}

const LINE_MS = 30_000;

/** A bar on a terminal; elsewhere a line for each file, and one now and then while nothing else is said. */
class PullReport {
  private readonly bar: ProgressLine;
  private saidAt = performance.now();

  constructor(private readonly io: CliIo) {
    this.bar = new ProgressLine(io);
  }

  progress({ bytes, totalBytes, files, totalFiles, path, whole }: PullProgress): void {
    if (this.io.isTerminal) return this.bar.update(bytes, totalBytes, `${files} of ${totalFiles} files`);
    if (whole)
      this.line(`${printable(path)} (${files} of ${totalFiles}, ${bytesText(bytes)} of ${bytesText(totalBytes)})`);
    else if (performance.now() - this.saidAt > LINE_MS) this.line(`${bytesText(bytes)} of ${bytesText(totalBytes)}`);
  }

  line(text: string): void {
    this.saidAt = performance.now();
    this.bar.clear();
    this.io.err(`megamoe: ${text}\n`);
  }

  end(): void {
    this.bar.clear();
  }
}
