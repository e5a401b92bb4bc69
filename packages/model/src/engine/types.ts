import type { GenerationConfig, ModelConfig, Tokenizer } from '@megamoe/checkpoint';
import type { ScoredToken } from '@megamoe/sampler';
import type { Prompt, RequestOptions } from '../request';

/** A request to an {@link Engine}: a prompt, how to continue it, and its place among the others. */
export type EngineRequest = Prompt & RequestOptions & EngineRequestOptions;

/** What a request to an {@link Engine} may say besides how to generate. */
export interface EngineRequestOptions {
  /** How many answers; they share the KV of the prompt. Answer i draws with `sequenceIndex + i`. Default 1. */
  readonly n?: number | undefined;
  /** Lower goes first, and may put back what is higher. Default 0; among equals who came first. */
  readonly priority?: number | undefined;
  /**
   * Who may share KV: requests with the same text here reuse each other's prefixes, others never see them. A server puts the API key and
   * the request's `cache_salt` here. Default ''.
   */
  readonly cacheKey?: string | undefined;
  /** false: neither look for a prefix nor keep one. Default true. */
  readonly reusePrefix?: boolean | undefined;
  /**
   * Report the log-probability of each token of the prompt, and of the n likeliest at its place (0 = of the prompt's own only): `echo` with
   * `logprobs` of the Completions API. Nothing is reused then. Default: none.
   */
  readonly promptLogprobs?: number | undefined;
  /** Also give a chunk with `prefill` after each step that took in a part of the prompt. Default false. */
  readonly progress?: boolean | undefined;
  /** Ends the request within one step, wherever it is; the stream then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** A token of a prompt by its log-probability; null for the first, which nothing predicts. */
export type ScoredPrompt = ScoredToken | null;

/** Why an answer ended. */
export type EngineFinishReason = 'stop' | 'length';

/** What ended an answer: a token id, or a stop text. */
export interface StopCause {
  readonly tokenId?: number | undefined;
  readonly text?: string | undefined;
}

/** Figures of a whole request. */
export interface EngineUsage {
  readonly promptTokens: number;
  /** Of them, tokens whose KV was there already: they were not computed. */
  readonly cachedTokens: number;
  /** Tokens sampled, of all answers, those that ended them included. */
  readonly completionTokens: number;
  /** Milliseconds from `submit` to the first step. */
  readonly queueMs: number;
  /** Milliseconds of the steps that took in the prompt (steps are shared with other requests). */
  readonly prefillMs: number;
  /** Milliseconds of all steps after them. */
  readonly decodeMs: number;
}

/** A piece of the stream of one request. */
export interface EngineChunk {
  /** Which of the `n` answers this belongs to. */
  readonly index: number;
  /** Sampled since the last chunk of this answer; usually one, none in chunks that only report. */
  readonly tokenIds: readonly number[];
  /** Text that may be shown now; held back while it could become a stop text or is half a character. */
  readonly text: string;
  /** With `splitReasoning`: reasoning that may be shown now, which is not in `text` then. */
  readonly reasoning?: string | undefined;
  /** With `logprobs`: one for each of `tokenIds`, from the raw logits. */
  readonly logprobs?: readonly ScoredToken[] | undefined;
  /** With `promptLogprobs`, once, before the first token: one for each token of the prompt. */
  readonly promptLogprobs?: readonly ScoredPrompt[] | undefined;
  /** With `progress`: tokens of the prompt that are done, those of them whose KV was there already, and all. */
  readonly prefill?: { readonly done: number; readonly cached: number; readonly total: number } | undefined;
  /** Set on the last chunk of each answer. */
  readonly finishReason?: EngineFinishReason | undefined;
  /** With `finishReason` `stop`. */
  readonly stop?: StopCause | undefined;
  /** Set on the last chunk of the request. */
  readonly usage?: EngineUsage | undefined;
}

/** The answers to a request as they come. Leaving the loop cancels the rest. */
export interface EngineStream extends AsyncIterableIterator<EngineChunk> {
  /** Token ids of the prompt. */
  readonly promptTokenIds: readonly number[];
  /**
   * Ends one of the answers within one step, as a stop would; the others go on. Its last chunk has `finishReason` `stop` and no `stop`. An answer
   * that has not begun, has ended or does not exist: nothing happens.
   * @throws ValueError for what is no number of an answer
   */
  finish(index: number): void;
  /** Ends the request within one step; the loop then throws `reason`. Twice is fine, and after the end nothing happens. */
  cancel(reason?: unknown): void;
}

/** Bounds of {@link EngineStats.stepSizes}: tokens. */
export const STEP_SIZES: readonly number[] = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];

/** Counters since the engine was opened, and how things stand. Tokens count when their step is done, chunk by chunk. */
export interface EngineStats {
  /** Requests with at least one sequence in steps, and requests that wait for their first step or to be resumed. */
  readonly running: number;
  readonly waiting: number;
  /** Most requests that may wait. */
  readonly maxQueue: number;
  /** Bytes of KV pages in use, prefixes included, and the limit. */
  readonly kvBytes: number;
  readonly kvLimitBytes: number;
  /** Bytes of pages that kept prefixes hold (alone or with running sequences), the limit, and how many there are. */
  readonly cacheBytes: number;
  readonly cacheLimitBytes: number;
  readonly cachedPrefixes: number;
  /** Tokens of prompts that were looked for among the kept prefixes, and found. */
  readonly prefixQueryTokens: number;
  readonly prefixHitTokens: number;
  /** Tokens of prompts taken in by steps, and tokens sampled. */
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly steps: number;
  /** Rows of the last step. */
  readonly stepTokens: number;
  /** Milliseconds in steps. */
  readonly stepMs: number;
  /**
   * Steps by the tokens of prompts that they took in and those that were sampled after them, together: the first counts those of at most
   * `STEP_SIZES[0]`, and so on; the last those of more than all of these.
   */
  readonly stepSizes: readonly number[];
  /** Times that a running sequence was put back for want of memory or for a higher priority. */
  readonly preemptions: number;
  /** Requests that ended, by how; those refused at the door (`QueueFullError`) are `refused`. */
  readonly finished: {
    readonly stop: number;
    readonly length: number;
    readonly cancelled: number;
    readonly failed: number;
    readonly refused: number;
  };
}

/** Whether an engine takes requests. */
export interface EngineHealth {
  /** `failed`: its worker has died; `restart` brings it back. */
  readonly status: 'ready' | 'draining' | 'closed' | 'failed';
  /** Why, when it has failed. */
  readonly error?: Error | undefined;
}

/** What is known of the model of an {@link Engine}: plain data. */
export interface ModelFacts {
  /** Name of the checkpoint's folder. */
  readonly id: string;
  readonly config: ModelConfig;
  readonly generationConfig: GenerationConfig | undefined;
  /** Most tokens of prompt and answer together: the model's limit, or what the KV memory holds. */
  readonly maxTokens: number;
  /** Ids that end a turn. */
  readonly stopTokenIds: readonly number[];
  /** Name of the backend, and in which formats the checkpoint is stored. */
  readonly backend: string;
  readonly formats: string | undefined;
  /** What the load noticed and a person should know. */
  readonly warnings: readonly string[];
  /** Bytes of KV that a token takes on average in a sequence of `maxTokens`. */
  readonly kvBytesPerToken: number;
}

/** How {@link Engine.close} ends. */
export interface CloseOptions {
  /** Let requests that are in finish; those that wait too. Default false: they end with an EngineClosedError. */
  readonly drain?: boolean | undefined;
  /** With `drain`: milliseconds after which what is left ends all the same. Default: no limit. */
  readonly timeoutMs?: number | undefined;
}

/**
 * Serves many requests with one model: continuous batching, chunked prompts beside running decodes, reuse of prefixes. Tokens and
 * log-probabilities of a request are, bit for bit, those that it gets alone. In process or in a worker, by {@link openEngine}.
 */
export interface Engine {
  readonly model: ModelFacts;
  /** @throws ValueError when the checkpoint has no tokenizer */
  readonly tokenizer: Tokenizer;
  readonly hasTokenizer: boolean;
  /**
   * Takes a request in. Everything that can be wrong with it is said here, before any work; the queue is looked at first, before the
   * prompt is encoded.
   * @throws QueueFullError when `maxQueue` requests wait; EngineClosedError; WorkerError when the worker is dead; ContextLengthError for
   * a prompt too long; ValueError, KindError for options that cannot be
   */
  submit(request: EngineRequest): EngineStream;
  /** Throws as {@link Engine.submit} would for any request: a server asks before it encodes a conversation. */
  checkAdmission(): void;
  stats(): EngineStats;
  health(): EngineHealth;
  /** Ends the engine and frees what it has loaded. Twice is fine. */
  close(options?: CloseOptions): Promise<void>;
  /** Starts the worker anew, when it has died or by force: requests under way end with a WorkerError. In process there is nothing to do. */
  restart(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
