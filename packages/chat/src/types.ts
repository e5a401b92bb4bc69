import type { Effort } from './encoding';
import type { JsonObject } from './json';

/** Who speaks. `latest_reminder` is DeepSeek's role for context that changes from turn to turn. */
export type Role = 'system' | 'developer' | 'user' | 'assistant' | 'tool' | 'latest_reminder';

/** A part of a content list. Only text reaches the model. */
export interface TextPart {
  readonly type: 'text';
  readonly text: string;
}

/** A call that an assistant made. */
export interface ToolCall {
  readonly id?: string | undefined;
  readonly type?: 'function' | undefined;
  readonly function: {
    readonly name: string;
    /** JSON text, as the API has it; an object is taken too. */
    readonly arguments: string | object;
  };
}

/** A function that the model may call. It is written into the prompt as given, key by key; a {@link JsonObject} keeps more than a plain object can. */
export interface Tool {
  readonly type?: 'function' | undefined;
  readonly function:
    | {
        readonly name: string;
        readonly description?: string | undefined;
        /** A JSON Schema of type object. */
        readonly parameters?: object | undefined;
        readonly [other: string]: unknown;
      }
    | JsonObject;
}

/** One message of a conversation. Its text is never read as special tokens. */
export interface Message {
  readonly role: Role;
  readonly content?: string | readonly TextPart[] | null | undefined;
  /** An assistant's reasoning, without `<think>` and `</think>`; `reasoning` is the same. */
  readonly reasoning_content?: string | null | undefined;
  readonly reasoning?: string | null | undefined;
  readonly tool_calls?: readonly ToolCall[] | null | undefined;
  /** Of a tool message: which call it answers. */
  readonly tool_call_id?: string | undefined;
  /** Of a system or developer message: functions described right there. */
  readonly tools?: readonly Tool[] | null | undefined;
  /** Of a system or developer message: written whole after the text. */
  readonly response_format?: object | null | undefined;
  /** One of DeepSeek's small tasks (docs/formats.md B3). */
  readonly task?: string | null | undefined;
  /** Of an assistant: leave out the end of sentence. */
  readonly wo_eos?: boolean | undefined;
  /** Of the last message, an assistant's: go on with it. */
  readonly prefix?: boolean | undefined;
}

/** Which tools may be called. */
export type ToolChoice =
  | 'auto'
  | 'none'
  | 'required'
  | { readonly type?: 'function' | undefined; readonly function: { readonly name: string } };

/**
 * A conversation with its settings: the fields of a Chat Completions request that shape the prompt, and those of DeepSeek's encoder. Others
 * are ignored. {@link readJson} of a request's text may stand for it, and keeps numbers and key order as they were written.
 */
export interface ConversationRequest {
  readonly messages: readonly Message[];
  readonly tools?: readonly Tool[] | null | undefined;
  readonly tool_choice?: ToolChoice | null | undefined;
  readonly response_format?:
    | { readonly type: string; readonly json_schema?: object | undefined; readonly schema?: object | undefined }
    | JsonObject
    | null
    | undefined;
  /** Switches of thinking, in the order in which they win: this, `think`, `enable_thinking`, `reasoning.enabled`, `chat_template_kwargs`. */
  readonly thinking?: boolean | { readonly type: string } | null | undefined;
  readonly think?: boolean | string | null | undefined;
  readonly enable_thinking?: boolean | null | undefined;
  /** Effort, in the order in which they win: this, `output_config.effort`, `reasoning.effort`, `chat_template_kwargs.reasoning_effort`. */
  readonly reasoning_effort?: string | null | undefined;
  readonly output_config?: object | null | undefined;
  readonly reasoning?: object | null | undefined;
  readonly chat_template_kwargs?: object | null | undefined;
  /** Go on with the last message, an assistant's. */
  readonly continue_final_message?: boolean | null | undefined;
  /** Put the assistant's turn after whatever comes last. Default: the option `generationPrompt`. */
  readonly add_generation_prompt?: boolean | null | undefined;

  /** The encoder's own terms: with it, `effort` (or `reasoning_effort`) is the encoder's too and no other name of a tier is known. */
  readonly thinking_mode?: 'chat' | 'thinking' | undefined;
  /** The encoder's effort; null is its default, which adds no text. */
  readonly effort?: Effort | null | undefined;
  /** In thinking mode without tools, leave out the reasoning of turns before the last user message. Default true. */
  readonly drop_thinking?: boolean | null | undefined;
  readonly add_default_bos_token?: boolean | null | undefined;
  /** Messages that are in the model's memory already: they count and are not written. */
  readonly context?: readonly Message[] | null | undefined;
}

/** The part of a tokenizer that prompts need; `Tokenizer` of `@megamoe/checkpoint` is one. */
export interface PromptTokenizer {
  /** Ids of the added tokens by their text. */
  readonly specialIds: ReadonlyMap<string, number>;
  /** Token ids of a text; with `parseSpecial` false no spelling of an added token becomes one. */
  encode(text: string, options?: { readonly parseSpecial?: boolean }): number[];
}
