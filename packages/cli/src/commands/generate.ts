import { loadModel, type GenerateChunk, type GenerateOptions } from '@megamoe/model';
import { Command } from 'commander';
import { UsageError } from '../errors';
import { readPrompt } from '../input';
import type { CliIo } from '../io';
import { loadReporter } from '../load-progress';
import { addModelOptions, collect, integer, loadOptions, number, seed, type ModelOptions } from '../options';

const DEFAULT_PROMPT = 'The capital of France is';

/** Options of the generation itself, as the model takes them. */
interface SamplingFlags {
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  readonly seed?: bigint;
  readonly stop?: string[];
  readonly ignoreEos?: boolean;
}

interface GenerateFlags extends ModelOptions, SamplingFlags {
  readonly stopId?: number[];
  readonly chat?: boolean;
  readonly think?: boolean;
  readonly json?: boolean;
}

/** `megamoe generate [PROMPT]`. */
export function generateCommand(io: CliIo): Command {
  return addModelOptions(new Command('generate'))
    .description('Complete a prompt, or with --chat answer it; greedy unless a temperature is given.')
    .argument('[prompt]', `text to complete; - or none: what is piped in (default: "${DEFAULT_PROMPT}")`)
    .option('--chat', 'take the prompt as a user turn and answer it')
    .option('--think', 'with --chat: reason before answering; the reasoning goes to standard error')
    .option('--max-tokens <n>', 'most tokens to generate (default: what the context holds, at most 4096)', integer(0))
    .option(
      '--temperature <t>',
      '0 = greedy, the default',
      number('a number, at least 0', (x) => x >= 0),
    )
    .option('--top-k <k>', 'keep the k most probable tokens; 0 or -1 = all', integer(-1))
    .option(
      '--top-p <p>',
      'keep the most probable tokens up to this mass',
      number('a number above 0, at most 1', (x) => x > 0 && x <= 1),
    )
    .option(
      '--min-p <p>',
      'drop tokens below this share of the best one',
      number('a number from 0 to 1', (x) => x >= 0 && x <= 1),
    )
    .option(
      '--repetition-penalty <r>',
      'over prompt and output; 1 = off',
      number('a number above 0', (x) => x > 0),
    )
    .option(
      '--presence-penalty <p>',
      'over output; 0 = off',
      number('a number from -2 to 2', (x) => Math.abs(x) <= 2),
    )
    .option(
      '--frequency-penalty <p>',
      'over output; 0 = off',
      number('a number from -2 to 2', (x) => Math.abs(x) <= 2),
    )
    .option('--seed <n>', 'same seed, same tokens; any integer of 64 bits', seed)
    .option('--stop <text>', 'text that ends the generation; may be given several times', collect(String))
    .option('--stop-id <id>', 'token id that ends it; may be given several times', collect(integer(0)))
    .option('--ignore-eos', "go on after the model's own turn-ending tokens")
    .option(
      '--json',
      'print one JSON object: text, tokenIds, promptTokenIds, finishReason, timings; with --think, reasoning',
    )
    .addHelpText('after', '\nExample:\n  megamoe generate "The capital of Italy is" --max-tokens 16')
    .action((prompt: string | undefined, flags: GenerateFlags) => runGenerate(io, prompt, flags));
}

async function runGenerate(io: CliIo, given: string | undefined, flags: GenerateFlags): Promise<void> {
  checkSampling(flags);
  if (flags.think && !flags.chat) throw new UsageError('generate: --think without --chat would do nothing; give both');
  const prompt = await readPrompt(io, 'generate', given, DEFAULT_PROMPT);
  if (prompt.trim() === '' && flags.chat) throw new UsageError('generate: the prompt is empty');
  const started = performance.now();
  const { model: dir, chat, think = false, json, stopId } = flags;
  const report = loadReporter(io);
  const model = await loadModel(dir, {
    ...loadOptions(flags),
    signal: io.signal,
    onPlan: report.plan,
    onProgress: report.progress,
  });
  report.done(model);
  const loadMs = performance.now() - started;
  const text: GenerateOptions = chat
    ? { messages: [{ role: 'user', content: prompt }], chat: { thinking: think } }
    : { prompt };
  // A completion shows the special tokens that it has, as its prompt may hold them; an answer does not.
  const skipSpecialTokens = chat === true;
  const options: GenerateOptions = {
    ...text,
    ...samplingOf(flags),
    skipSpecialTokens,
    ...(stopId ? { stopIds: stopId } : {}),
    signal: io.signal,
  };
  const promptTokenIds = model.promptTokenIds(text);

  let echo = json || chat ? '' : prompt; // shown with the first token: an error before that leaves stdout empty
  const tokenIds: number[] = [];
  io.progress?.(`prompt of ${promptTokenIds.length} tokens`);
  let whole = '';
  let reasoning = '';
  let last: GenerateChunk | undefined;
  for await (const chunk of model.generate(options)) {
    if (chunk.tokenId !== undefined) tokenIds.push(chunk.tokenId);
    io.progress?.(`${tokenIds.length} tokens`);
    const ended = chunk.text !== '' || chunk.finishReason !== undefined;
    if (!json) io.err(chunk.reasoning ?? ''); // apart from the answer, which a pipe gets alone
    reasoning += chunk.reasoning ?? '';
    if (!json && ended && reasoning && !whole) io.err('\n');
    whole += chunk.text;
    last = chunk;
    if (!json) io.out(echo + chunk.text);
    echo = '';
  }
  const usage = last?.usage;
  const decoded = Math.max(0, tokenIds.length - 1); // the first token comes out of the prefill
  const timings = {
    loadMs: round(loadMs),
    prefillTokensPerSecond: rate(promptTokenIds.length, usage?.prefillMs),
    decodeTokensPerSecond: rate(decoded, usage?.decodeMs),
  };
  const finishReason = last?.finishReason ?? 'length';
  if (json) {
    const thought = think ? { reasoning } : {};
    io.out(`${JSON.stringify({ ...thought, text: whole, tokenIds, promptTokenIds, finishReason, timings })}\n`);
    return;
  }
  io.out(`${echo}\n`);
  const why = last?.stop
    ? last.stop.text === undefined
      ? `stop token ${last.stop.tokenId} ${JSON.stringify(model.tokenizer.decode([last.stop.tokenId!], { skipSpecial: false }))}`
      : `stop text ${JSON.stringify(last.stop.text)}`
    : 'length';
  io.err(
    `megamoe: ${finishReason === 'stop' ? `ended by ${why}` : 'ended at the token limit'}; ${tokenIds.length} tokens, ` +
      `prefill ${timings.prefillTokensPerSecond} tokens/s, decode ${timings.decodeTokensPerSecond} tokens/s\n`,
  );
}

/** By name, so that the options of the model do not go along; a record, so that none can be forgotten. */
const SAMPLING: Readonly<Record<keyof SamplingFlags, true>> = {
  maxTokens: true,
  temperature: true,
  topK: true,
  topP: true,
  minP: true,
  repetitionPenalty: true,
  presencePenalty: true,
  frequencyPenalty: true,
  seed: true,
  stop: true,
  ignoreEos: true,
};

const samplingOf = (flags: GenerateFlags): SamplingFlags =>
  Object.fromEntries(Object.entries(flags).filter(([name]) => Object.hasOwn(SAMPLING, name)));

/** Options that change nothing while the likeliest token is taken. */
function checkSampling({ temperature, topK = 0, topP = 1, minP = 0, seed }: GenerateFlags): void {
  if (temperature !== undefined) return;
  const idle = { '--top-k': topK > 0, '--top-p': topP !== 1, '--min-p': minP !== 0, '--seed': seed !== undefined };
  const given = Object.entries(idle).filter(([, isGiven]) => isGiven).map(([name]) => name); // prettier-ignore
  if (given.length === 0) return;
  throw new UsageError(`generate: ${given.join(', ')} without --temperature would do nothing; give one above 0`);
}

const round = (x: number): number => Math.round(x * 10) / 10;
const rate = (tokens: number, ms: number | undefined): number =>
  ms === undefined || ms <= 0 ? 0 : round((tokens / ms) * 1000);
