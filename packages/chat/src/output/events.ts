/** What a piece of output means. */
export type OutputEvent =
  | { readonly type: 'reasoning'; readonly text: string }
  | { readonly type: 'content'; readonly text: string }
  /** A call begins; comes once a call, before its arguments. */
  | { readonly type: 'tool_call'; readonly index: number; readonly name: string }
  /** The next piece of a call's arguments; the pieces join to JSON, which is complete with the last. */
  | { readonly type: 'arguments'; readonly index: number; readonly text: string }
  /** A call is complete. */
  | { readonly type: 'tool_call_end'; readonly index: number }
  /** The last event. */
  | { readonly type: 'finish'; readonly finishReason: OutputFinish; readonly stopSequence: string | null };

/** Why an answer ended, as the API says it. */
export type OutputFinish = 'stop' | 'length' | 'tool_calls';

/** A call that was parsed. */
export interface ParsedCall {
  readonly name: string;
  /** JSON text; a beginning of one when the output was cut off within the call. */
  readonly arguments: string;
}

/** Output, parsed. What is not there is null, never the empty text. */
export interface ParsedOutput {
  readonly reasoning: string | null;
  readonly content: string | null;
  readonly toolCalls: readonly ParsedCall[];
  /** Null until the end. */
  readonly finishReason: OutputFinish | null;
  /** The stop text that ended it. */
  readonly stopSequence: string | null;
}

/** Collects events; neighbours of a kind become one. */
export class EventList {
  list: OutputEvent[] = [];

  add(event: OutputEvent): void {
    const last = this.list.at(-1);
    if (last?.type === event.type && 'text' in last && 'text' in event) {
      if (!('index' in last) || !('index' in event) || last.index === event.index) {
        this.list[this.list.length - 1] = { ...last, text: last.text + event.text };
        return;
      }
    }
    this.list.push(event);
  }

  take(): OutputEvent[] {
    const { list } = this;
    this.list = [];
    return list;
  }
}
