import { readEncoding } from '@megamoe/chat';
import { openEngine, type Engine, type EngineLimits } from '@megamoe/model';
import { repositoryFile } from '@megamoe/testkit';
import type { LogFields, ServerOptions } from '../src/index';
import { MegamoeServer } from '../src/server';

/** The shipped model. */
export const TINY = repositoryFile('models/tiny');

/** A server that runs, and how to ask it. */
export interface Running {
  readonly server: MegamoeServer;
  readonly url: string;
  readonly port: number;
  readonly events: (LogFields & { readonly event: string })[];
  post(path: string, body: unknown, headers?: Record<string, string>, signal?: AbortSignal): Promise<Response>;
}

type Options = Omit<ServerOptions, 'open'>;

/** Serves an engine on a free port. */
export async function serveEngine(engine: Engine, options: Options = {}, tokenizerWorker?: URL): Promise<Running> {
  const events: Running['events'] = [];
  const server = new MegamoeServer(
    {
      port: 0,
      ...options,
      log: (_, event, fields) => events.push({ event, ...fields }),
      open: async () => ({ engine, encoding: await readEncoding(TINY), names: ['tiny'] }),
    },
    tokenizerWorker,
  );
  const { url, port } = await server.listen();
  await server.load();
  const post: Running['post'] = (path, body, headers = {}, signal) =>
    fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      ...(signal ? { signal } : {}),
    });
  return { server, url, port, events, post };
}

/** Serves the shipped model. */
export async function serveTiny(options: Options = {}, limits: EngineLimits = {}): Promise<Running> {
  return serveEngine(await openEngine({ model: TINY, id: 'tiny', ...limits }), options);
}

/** Objects of a stream, and its comments. */
export async function readEvents(response: Response): Promise<{ data: Chunk[]; comments: string[]; done: boolean }> {
  const text = await response.text();
  const lines = text.split('\n\n').filter((line) => line !== '');
  const data = lines.filter((line) => line.startsWith('data: ')).map((line) => line.slice(6));
  const objects = data.filter((line) => line !== '[DONE]');
  // Chunks are put together from text: each must be what JSON.stringify writes.
  for (const line of objects) if (JSON.stringify(JSON.parse(line)) !== line) throw new Error(`no plain JSON: ${line}`);
  return {
    data: objects.map((line) => JSON.parse(line) as Chunk),
    comments: lines.filter((line) => line.startsWith(':')),
    done: data.at(-1) === '[DONE]',
  };
}

/** As much of a chunk or a response as tests look at. */
export interface Chunk {
  readonly id: string;
  readonly object: string;
  readonly model: string;
  readonly created: number;
  readonly system_fingerprint: string;
  readonly reasoning_effort?: string;
  readonly error?: { readonly message: string; readonly type: string; readonly code: string; readonly param: string };
  readonly usage?: Usage | null;
  readonly timings?: Record<string, number>;
  readonly choices: readonly {
    readonly index: number;
    readonly text: string;
    readonly delta: Delta;
    readonly message: Delta & { readonly role: string };
    readonly logprobs: { readonly content: readonly { readonly token: string; readonly logprob: number }[] } | null;
    readonly finish_reason: string | null;
    readonly stop_reason?: string | number | null;
    readonly stop_sequence?: string;
  }[];
}

/** Figures of an answer. */
export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
  readonly completion_tokens_details: { readonly reasoning_tokens: number };
  readonly prompt_cache_hit_tokens: number;
  readonly prompt_cache_miss_tokens: number;
}

interface Delta {
  readonly role?: string;
  readonly content?: string | null;
  readonly reasoning_content?: string;
  readonly reasoning?: string;
  readonly tool_calls?: readonly {
    readonly index: number;
    readonly id?: string;
    readonly type?: string;
    readonly function: { readonly name?: string; readonly arguments: string };
  }[];
}

export const user = (content: string) => [{ role: 'user', content }];

/** A function that the shipped model calls. */
export const WEATHER = {
  type: 'function' as const,
  function: {
    name: 'get_weather',
    description: 'Get the weather',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};
