import { loadTokenizer, readConfig, readGenerationConfig, type Tokenizer } from '@megamoe/checkpoint';
import { repositoryFile } from '@megamoe/testkit';
import type {
  Engine,
  EngineChunk,
  EngineHealth,
  EngineRequest,
  EngineStats,
  EngineStream,
  ModelFacts,
} from '@megamoe/model';

const TINY = repositoryFile('models/tiny');
const tokenizer = loadTokenizer(TINY);
const { config } = readConfig(TINY);
const MARKERS = /(<\/?think>|｜DSML｜)/;

/** Ids of a text with markers in it, one piece after the other. */
export function idsOf(text: string): number[] {
  return text.split(MARKERS).flatMap((part) => (part === '' ? [] : tokenizer.encode(part)));
}

/** What a fake engine says. */
export interface Script {
  /** Output of a request; an EOS follows unless `open`. Default: a short answer. */
  readonly says?: (request: EngineRequest, index: number) => string;
  /** No EOS: goes on with the last token until the limit. */
  readonly open?: boolean;
  /** Milliseconds between tokens; 0: a turn of the event loop. */
  readonly tokenMs?: number;
  /** Milliseconds of the prompt, in which `prefill` is reported every few of them. */
  readonly prefillMs?: number;
  /** Ends the stream with this error after so many tokens. */
  readonly failAfter?: { readonly tokens: number; readonly error: Error };
  /** Thrown by submit and checkAdmission. */
  readonly refuse?: Error;
  readonly maxTokens?: number;
}

/** An engine without a model: says what it is told to, so that what is around it can be tried. */
export class FakeEngine implements Engine {
  readonly hasTokenizer = true;
  readonly tokenizer: Tokenizer = tokenizer;
  readonly model: ModelFacts;
  readonly requests: EngineRequest[] = [];
  cancelled: unknown[] = [];
  /** Answers that were to be ended; what is on its way comes all the same, and here all of it. */
  finished: number[] = [];
  status: EngineHealth['status'] = 'ready';
  restarts = 0;
  running = 0;
  script: Script;

  constructor(script: Script = {}) {
    this.script = script;
    this.model = {
      id: 'fake',
      config,
      generationConfig: readGenerationConfig(TINY),
      maxTokens: script.maxTokens ?? 2048,
      stopTokenIds: [1, 0, 3, 4],
      backend: 'fake',
      formats: 'none',
      warnings: [],
      kvBytesPerToken: 1000,
    };
  }

  checkAdmission(): void {
    if (this.script.refuse) throw this.script.refuse;
  }

  submit(request: EngineRequest): EngineStream {
    this.checkAdmission();
    this.requests.push(request);
    const abort = new AbortController();
    let ended = false;
    const cancel = (reason: unknown = new DOMException('cancelled', 'AbortError')): void => {
      if (!ended && !abort.signal.aborted) this.cancelled.push(reason);
      abort.abort(reason);
    };
    if (request.signal?.aborted) cancel(request.signal.reason);
    request.signal?.addEventListener('abort', () => cancel(request.signal!.reason), { once: true });
    const chunks = this.#chunks(request, abort.signal, () => (ended = true));
    return {
      promptTokenIds: Array.from(request.tokenIds!),
      cancel,
      finish: (index) => void this.finished.push(index),
      next: () => chunks.next(),
      return: async () => {
        cancel();
        await chunks.return(undefined);
        return { value: undefined, done: true };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  async *#chunks(
    request: EngineRequest,
    signal: AbortSignal,
    onEnd: () => void,
  ): AsyncGenerator<EngineChunk, undefined> {
    const { tokenMs = 0, prefillMs = 0, failAfter, open = false } = this.script;
    const says = this.script.says ?? (() => 'Hello there.');
    const { n = 1, maxTokens = 100, tokenIds, progress } = request;
    const total = tokenIds!.length;
    const wait = (ms: number): Promise<void> =>
      new Promise((resolve, reject) => {
        const abort = (): void => reject(signal.reason as Error);
        if (signal.aborted) return abort();
        signal.addEventListener('abort', abort, { once: true });
        const go = (): void => {
          signal.removeEventListener('abort', abort);
          resolve();
        };
        if (ms === 0) setImmediate(go);
        else setTimeout(go, ms);
        return undefined;
      });
    this.running++;
    try {
      const started = performance.now();
      for (let i = 1; i <= 4 && prefillMs > 0; i++) {
        await wait(prefillMs / 4);
        if (progress)
          yield { index: 0, tokenIds: [], text: '', prefill: { done: Math.floor((total * i) / 4), cached: 2, total } };
      }
      if (request.promptLogprobs !== undefined) {
        const score = (tokenId: number, i: number) => (i === 0 ? null : { tokenId, logprob: -i, topLogprobs: [] });
        yield { index: 0, tokenIds: [], text: '', promptLogprobs: Array.from(tokenIds!).map(score) };
      }
      const outputs = Array.from({ length: n }, (_, i) => [...idsOf(says(request, i)), ...(open ? [] : [1])]);
      const done = outputs.map(() => 0);
      const stream = outputs.map(() => tokenizer.createStream({ skipSpecial: true }));
      const usage = {
        promptTokens: total,
        cachedTokens: 0,
        completionTokens: 0,
        queueMs: 1,
        prefillMs: performance.now() - started,
        decodeMs: 1,
      };
      let left = maxTokens === 0 ? 0 : n;
      for (let index = 0; index < n && left === 0; index++) {
        yield { index, tokenIds: [], text: '', finishReason: 'length', ...(index === n - 1 ? { usage } : {}) };
      }
      while (left > 0) {
        await wait(tokenMs);
        for (let index = 0; index < n; index++) {
          const ids = outputs[index]!;
          if (done[index] === -1) continue;
          const at = done[index]!;
          const id = ids[Math.min(at, ids.length - 1)]!;
          done[index]!++;
          usage.completionTokens++;
          const stops = (id === 1 && !request.ignoreEos) || (request.stopIds ?? []).includes(id);
          const ended = stops ? 'stop' : done[index]! >= maxTokens ? 'length' : undefined;
          if (failAfter && usage.completionTokens > failAfter.tokens) throw failAfter.error;
          if (ended) [done[index], left] = [-1, left - 1];
          if (left === 0) onEnd();
          yield {
            index,
            tokenIds: [id],
            text: stops ? '' : stream[index]!.push(id),
            ...(request.logprobs === undefined ? {} : { logprobs: [{ tokenId: id, logprob: -0.5, topLogprobs: [] }] }),
            ...(ended ? { finishReason: ended } : {}),
            ...(stops ? { stop: { tokenId: id } } : {}),
            ...(left === 0 ? { usage } : {}),
          };
        }
      }
      return undefined;
    } finally {
      this.running--;
    }
  }

  stats(): EngineStats {
    return {
      running: this.running,
      waiting: 0,
      maxQueue: 10,
      kvBytes: 50,
      kvLimitBytes: 100,
      cacheBytes: 0,
      cacheLimitBytes: 50,
      cachedPrefixes: 0,
      prefixQueryTokens: 0,
      prefixHitTokens: 0,
      promptTokens: 7,
      completionTokens: 9,
      steps: 3,
      stepTokens: 1,
      stepMs: 1,
      stepSizes: [1, 0, 2],
      preemptions: 0,
      finished: { stop: 0, length: 0, cancelled: 0, failed: 0, refused: 0 },
    };
  }

  health(): EngineHealth {
    return this.status === 'failed' ? { status: 'failed', error: new Error('killed') } : { status: this.status };
  }

  async close({ drain = false, timeoutMs = Infinity } = {}): Promise<void> {
    const until = performance.now() + timeoutMs;
    this.status = 'draining';
    while (drain && this.running > 0 && performance.now() < until) await new Promise((r) => setTimeout(r, 5));
    this.status = 'closed';
  }

  restart(): Promise<void> {
    this.restarts++;
    this.status = 'ready';
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
