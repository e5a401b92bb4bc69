import type { Stage, Tool, JsonObject } from '@megamoe/chat';
import type { EngineRequest, ScoredToken } from '@megamoe/model';

/** Knobs of sampling, as the engine takes them. */
export type Sampling = Pick<
  EngineRequest,
  | 'temperature'
  | 'topK'
  | 'topP'
  | 'minP'
  | 'repetitionPenalty'
  | 'presencePenalty'
  | 'frequencyPenalty'
  | 'seed'
  | 'logitBias'
  | 'logprobs'
  | 'stopIds'
  | 'ignoreEos'
>;

/** Answers that are wanted to a conversation, whatever API asked for them. */
export interface AnswerRequest {
  /** Ids of the prompt, the opening of a forced call included. */
  readonly promptIds: readonly number[];
  /** How many answers. */
  readonly n: number;
  readonly sampling: Sampling;
  /** Most tokens of each answer. */
  readonly maxTokens: number;
  readonly minTokens: number;
  /** Texts that end an answer; they count in content only. */
  readonly stop: readonly string[];
  /** Who may share KV and remembered answers. */
  readonly cacheKey: string;
  /** Whether prefixes are looked for and kept. */
  readonly reusePrefix: boolean;
  /** Where output begins. */
  readonly stage: Stage;
  /** Whether the prompt has begun the text that output goes on with. */
  readonly continued: boolean;
  /** What the prompt has opened of a call: the parser sees it before the output. */
  readonly opened: string;
  /** Tools that may be called; empty for none. */
  readonly tools: readonly (Tool | JsonObject)[];
  readonly jsonObject: boolean;
  readonly parallelToolCalls: boolean;
  /** Most tokens of reasoning. */
  readonly thinkingBudget: number | undefined;
  /** What is put after the reasoning: the opening of a call. */
  readonly afterThinking: string;
}

/** A piece of an answer, for the client. */
export type Delta =
  | { readonly kind: 'reasoning' | 'content'; readonly text: string }
  | { readonly kind: 'call'; readonly call: number; readonly id: string; readonly name: string }
  | { readonly kind: 'arguments'; readonly call: number; readonly text: string };

/** What ended an answer, and what is to be said about it. */
export interface AnswerEnd {
  readonly finishReason: 'stop' | 'length' | 'tool_calls';
  /** The stop text that was met. */
  readonly stopText: string | undefined;
  /** A stop token that the request gave. */
  readonly stopTokenId: number | undefined;
  /** Ended by itself with reasoning and nothing else. */
  readonly isEmpty: boolean;
}

/** Figures of all answers to a request. */
export interface AnswerUsage {
  readonly promptTokens: number;
  /** Of them, tokens whose KV was there; undefined when the answers ended before the engine said. */
  readonly cachedTokens: number | undefined;
  readonly completionTokens: number;
  readonly reasoningTokens: number;
  readonly queueMs: number;
  readonly prefillMs: number;
  readonly decodeMs: number;
}

/** What comes of an {@link AnswerRequest}, in order. */
export type AnswerEvent =
  | { readonly type: 'prefill'; readonly done: number; readonly total: number }
  | { readonly type: 'delta'; readonly index: number; readonly delta: Delta; readonly scores: readonly ScoredToken[] }
  | { readonly type: 'end'; readonly index: number; readonly end: AnswerEnd; readonly scores: readonly ScoredToken[] }
  | { readonly type: 'usage'; readonly usage: AnswerUsage };

/** A whole answer. */
export interface WholeAnswer {
  readonly reasoning: string | null;
  readonly content: string | null;
  readonly calls: readonly { readonly id: string; readonly name: string; readonly arguments: string }[];
}
