import { readEncoding, type Contract } from '@megamoe/chat';
import { openEngine, type EngineLimits } from '@megamoe/model';
import { createServer, jsonLogger, type MegamoeServer, type ServedModel } from '@megamoe/server';
import { Command, Option } from 'commander';
import { once } from 'node:events';
import { EXIT, messageOf, SIGNALS, UsageError, type Signal } from '../errors';
import type { CliIo } from '../io';
import { addModelOptions, bytes, collect, integer, loadOptions, number, type ModelOptions } from '../options';
import { readInput } from '../read-file';
import { table } from '../table';
import { bytesText } from '../units';

/** Holds keys as well as --api-key does, and is not seen in the list of processes. */
const KEY_VARIABLE = 'MEGAMOE_API_KEY';

interface ServeFlags extends ModelOptions {
  readonly host: string;
  readonly port: number;
  readonly apiKey?: string[];
  readonly apiKeyFile?: string;
  readonly allowPublic?: boolean;
  readonly allowedHost?: string[];
  readonly cors?: string[];
  readonly servedName?: string[];
  readonly encoder?: string;
  readonly contract?: Contract;
  readonly thinking: boolean;
  readonly maxSequences?: number;
  readonly maxQueue?: number;
  readonly kvRam?: number;
  readonly cacheRam?: number;
  readonly maxBody?: number;
  readonly maxConnections?: number;
  readonly drain: number;
  readonly logContent?: boolean;
  readonly inProcess?: boolean;
}

/** `megamoe serve`. */
export function serveCommand(io: CliIo): Command {
  return addModelOptions(new Command('serve'))
    .description("Serve the model over HTTP: OpenAI's Chat Completions and Completions, health and metrics.")
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--port <n>', 'port to listen on; 0 = a free one', integer(0, 65535), 8080)
    .option(
      '--api-key <key>',
      `a key that requests must bring; may be given several times (also: ${KEY_VARIABLE})`,
      collect(String),
    )
    .option('--api-key-file <file>', 'keys, one a line; # begins a comment')
    .option('--allow-public', 'listen on an address that others reach, without a key')
    .option(
      '--allowed-host <name>',
      'another name of this server, as a proxy has one; may be given several times',
      collect(String),
    )
    .option(
      '--cors <origin>',
      'pages of this origin may use the server, * = of all; may be given several times',
      collect(String),
    )
    .option(
      '--served-name <name>',
      "the model's name (default: the folder's); may be given several times",
      collect(String),
    )
    .option('--encoder <file>', "take the wording of prompts from this encoding_dsv4.py instead of the checkpoint's")
    .addOption(
      new Option('--contract <name>', "what the efforts mean (default: the encoder file's own)").choices([
        'preview',
        'official',
      ]),
    )
    .option('--no-thinking', 'answer without reasoning when a request does not say')
    .option('--max-sequences <n>', 'most answers at a time (default: 64)', integer(1, 65536))
    .option('--max-queue <n>', 'most requests that wait; one more gets 429 (default: 256)', integer(0))
    .option(
      '--kv-ram <amount>',
      'memory for the state of conversations (default: 4 GiB, or what one of full length takes)',
      bytes,
    )
    .option('--cache-ram <amount>', 'of it, for prefixes that are kept; 0 = none (default: half)', bytes)
    .option('--max-body <amount>', 'largest request (default: 16 MiB)', bytes)
    .option('--max-connections <n>', 'most connections at a time (default: 1024)', integer(1))
    .option(
      '--drain <seconds>',
      'when stopped, how long answers under way may take to end',
      number('a number of seconds, at least 0', (x) => x >= 0 && x <= 86_400),
      30,
    )
    .option(
      '--in-process',
      'compute in the thread that answers requests, which then wait for steps, instead of one of its own',
    )
    .option('--log-content', 'log prompts and answers too; without it no text of messages is logged')
    .addHelpText(
      'after',
      '\nExample:\n  megamoe serve --port 8080' +
        '\n  curl http://127.0.0.1:8080/v1/chat/completions -H "content-type: application/json" \\' +
        '\n    -d \'{"messages": [{"role": "user", "content": "What is 347 plus 285?"}]}\'' +
        '\n\nEvents go to standard error, one line of JSON each. The first Ctrl-C lets answers under way end, the second ends at once.',
    )
    .action((flags: ServeFlags) => runServe(io, flags));
}

/** Keys of the command line, a file and the environment. */
async function keysOf({ apiKey = [], apiKeyFile }: ServeFlags, signal: AbortSignal): Promise<string[]> {
  const keys = [...apiKey];
  const variable = process.env[KEY_VARIABLE];
  if (variable) keys.push(variable);
  if (apiKeyFile === undefined) return keys;
  let text: string;
  try {
    text = (await readInput(apiKeyFile, signal)).toString();
  } catch (cause) {
    signal.throwIfAborted();
    throw new UsageError(`serve: --api-key-file ${apiKeyFile} cannot be read: ${messageOf(cause)}`, { cause });
  }
  const lines = text.split(/\r?\n/).map((line) => line.replace(/#.*/, '').trim());
  const own = lines.filter((line) => line !== '');
  if (own.length === 0) throw new UsageError(`serve: --api-key-file ${apiKeyFile} holds no key`);
  return [...keys, ...own];
}

const DEFAULT_KV_BYTES = 4 * 2 ** 30;

function limitsOf({ maxSequences, maxQueue, kvRam, cacheRam }: ServeFlags): EngineLimits {
  const kvBytes = kvRam ?? (cacheRam !== undefined && 2 * cacheRam > DEFAULT_KV_BYTES ? 2 * cacheRam : undefined);
  return { maxSequences, maxQueue, kvBytes, cacheBytes: cacheRam };
}

/** Loads the model and its wording. */
async function open(flags: ServeFlags, signal: AbortSignal): Promise<ServedModel> {
  const { model, encoder, contract, servedName, inProcess = false } = flags;
  const encoding = await readEncoding(encoder ?? model, { contract });
  if (!encoding && (encoder !== undefined || contract !== undefined)) {
    throw new UsageError(`serve: there is no encoding_dsv4.py in ${encoder ?? model}; name one with --encoder FILE`);
  }
  const engine = await openEngine({
    model,
    load: { ...loadOptions(flags), signal },
    worker: !inProcess,
    ...limitsOf(flags),
  });
  const name = pulledName(model);
  return { engine, encoding, names: servedName ?? (name === undefined ? undefined : [name]) };
}

/** The name of a model in the Hugging Face cache, whose folders are named by commits. */
function pulledName(dir: string): string | undefined {
  const match = /[/\\]models--([^/\\]+?)--([^/\\]+)[/\\]snapshots[/\\][^/\\]+[/\\]?$/.exec(dir);
  return match ? `${match[1]}/${match[2]}` : undefined;
}

async function runServe(io: CliIo, flags: ServeFlags): Promise<void> {
  const log = jsonLogger(io.err);
  const loading = new AbortController();
  const apiKeys = await keysOf(flags, io.signal);
  let server: MegamoeServer;
  try {
    server = createServer({
      open: () => open(flags, loading.signal),
      host: flags.host,
      port: flags.port,
      apiKeys,
      allowPublic: flags.allowPublic,
      allowedHosts: flags.allowedHost,
      cors: flags.cors,
      thinking: flags.thinking,
      maxBodyBytes: flags.maxBody,
      maxConnections: flags.maxConnections,
      log,
      logContent: flags.logContent,
    });
  } catch (cause) {
    const hint = messageOf(cause).includes('allowPublic') ? ' (--api-key, --api-key-file, --allow-public)' : '';
    throw new UsageError(`serve: ${messageOf(cause).replace(/^createServer: /, '')}${hint}`, { cause });
  }
  const { url } = await server.listen();
  io.out(`Listening on ${url}, loading ${flags.model}\n`);
  const stopped = io.signal.aborted ? Promise.resolve() : once(io.signal, 'abort');
  const ready = server.load();
  try {
    await Promise.race([ready.then((served) => io.out(banner(url, served, flags))), stopped]);
    await stopped;
  } finally {
    loading.abort(new Error('the server is stopping'));
    await ready.catch(() => undefined);
    await end(server, flags.drain);
  }
}

/** Lets answers under way end; a signal meanwhile ends at once. */
async function end(server: MegamoeServer, seconds: number): Promise<void> {
  const now = (signal: Signal): never => process.exit(EXIT[SIGNALS[signal]]);
  process.once('SIGINT', now);
  process.once('SIGTERM', now);
  try {
    await server.close({ timeoutMs: seconds * 1000 });
  } finally {
    process.off('SIGINT', now);
    process.off('SIGTERM', now);
  }
}

type Served = Awaited<ReturnType<MegamoeServer['load']>>;

/** What is served, and within which limits. */
function banner(url: string, { engine, encoding, names }: Served, { thinking }: ServeFlags): string {
  const { maxTokens, kvBytesPerToken, backend, formats, warnings } = engine.model;
  const { kvLimitBytes, cacheLimitBytes, maxQueue } = engine.stats();
  const effort = encoding ? 'high' : 'low';
  const rows = [
    ['address', `${url}/v1`],
    ['model', names.join(', ')],
    ['weights', formats ?? 'made in memory'],
    ['backend', backend],
    [
      'contract',
      encoding
        ? `${encoding.contract}, from ${encoding.source}`
        : 'none: no encoder file, so no tools and no efforts above low',
    ],
    ['thinking', thinking ? `on by default, effort ${effort}` : 'off by default'],
    ['context', `${maxTokens} tokens`],
    [
      'KV memory',
      `${bytesText(kvBytesPerToken)} a token, ${bytesText(kvLimitBytes)} in all, ${bytesText(cacheLimitBytes)} of it for prefixes`,
    ],
    ['queue', `${maxQueue} requests`],
  ];
  return `${table(['ready', ''], rows)}${warnings.map((warning) => `warning: ${warning}\n`).join('')}`;
}
