import { escapeArguments } from './arguments';
import type { Encoding } from './encoding';
import { NAMED, writeJson } from './json';
import { ANY_MARKER, CALLS_BLOCK, CHAT_TOKENS, TASK_TOKENS } from './markers';
import type { TemplatePart } from './python-format';
import { lastUserIndex, needsWording, type Attachments, type Block, type Turn } from './turns';

/** A piece of a prompt: plain text, a special token, or an answer of the assistant, whose sampled ids may be known. */
export type Segment =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'marker'; readonly token: string }
  | {
      readonly kind: 'answer';
      readonly turn: Turn;
      /** Reasoning and its end marker; undefined where reasoning is not written. */
      readonly reasoning: readonly Segment[] | undefined;
      /** What follows it, with the end of sentence. */
      readonly rest: readonly Segment[];
    };

/** Where the model goes on: within reasoning, or in the answer. */
export type Open = 'thinking' | 'content';

/** Collects segments; neighbouring texts become one, because a tokenizer merges across the seam. */
export class PromptWriter {
  readonly segments: Segment[] = [];

  text(text: string): this {
    if (text === '') return this;
    const last = this.segments.at(-1);
    if (last?.kind === 'text') this.segments[this.segments.length - 1] = { kind: 'text', text: last.text + text };
    else this.segments.push({ kind: 'text', text });
    return this;
  }

  mark(token: string): this {
    this.segments.push({ kind: 'marker', token });
    return this;
  }

  /** Text of the checkpoint itself: a marker spelled in it is one, as when the model was trained on the whole text. */
  wording(text: string): this {
    text.split(ANY_MARKER).forEach((part, i) => (i % 2 === 1 ? this.mark(part) : this.text(part)));
    return this;
  }

  template(parts: readonly TemplatePart[], fields: Readonly<Record<string, (w: PromptWriter) => unknown>>): this {
    for (const part of parts) {
      if ('text' in part) this.wording(part.text);
      else fields[part.field]!(this);
    }
    return this;
  }
}

/** How turns are rendered. */
export interface RenderOptions {
  readonly encoding: Encoding | undefined;
  readonly thinking: boolean;
  /** Leave out the reasoning of turns before the last user. */
  readonly drop: boolean;
  /** What goes before the first turn. */
  readonly effortText: string;
  /** Turns before this one are in memory already. */
  readonly from: number;
  /** Whether the last turn is followed by the assistant's marker: as the encoder does, always, never. */
  readonly generation: 'encoder' | 'always' | 'never';
}

/**
 * Renders turns as DeepSeek's encoder does.
 * @returns where the model goes on, undefined when the prompt ends with nothing open
 */
export function renderTurns(writer: PromptWriter, turns: readonly Turn[], options: RenderOptions): Open | undefined {
  const { thinking, drop, from, generation } = options;
  const lastUser = lastUserIndex(turns);
  let open: Open | undefined;
  const openTurn = (think: boolean): void => {
    writer.mark(CHAT_TOKENS.assistant).mark(think ? CHAT_TOKENS.think : CHAT_TOKENS.endThink);
    open = think ? 'thinking' : 'content';
  };
  for (let i = from; i < turns.length; i++) {
    const turn = turns[i]!;
    if (i === 0 && thinking) writer.wording(options.effortText);
    const last = i === turns.length - 1;
    if (turn.role !== 'latest_reminder') open = undefined;
    switch (turn.role) {
      case 'system':
        attach(writer.text(turn.text), turn, options.encoding);
        break;
      case 'developer':
        attach(writer.mark(CHAT_TOKENS.user).text(turn.text), turn, options.encoding);
        break;
      case 'user':
        writer.mark(CHAT_TOKENS.user);
        turn.blocks.forEach((block, n) => renderBlock(n > 0 ? writer.text('\n\n') : writer, block, options.encoding));
        break;
      case 'latest_reminder':
        writer.mark(CHAT_TOKENS.latestReminder).text(turn.text);
        break;
      case 'assistant': {
        // The answer to a task has no reasoning.
        const reasons = thinking && turns[i - 1]?.task === undefined && (!drop || i > lastUser);
        open = renderAnswer(writer, turn, reasons);
        break;
      }
    }
    const next = turns[i + 1]?.role;
    if (next !== undefined && next !== 'assistant' && next !== 'latest_reminder') continue;
    if (turn.task !== undefined) {
      if (turn.task === 'action') openTurn(thinking);
      writer.mark(TASK_TOKENS.get(turn.task)!);
      open = 'content';
    } else if ((turn.role === 'user' || turn.role === 'developer') && !(last && generation === 'never')) {
      openTurn(thinking && (!drop || i >= lastUser));
    }
  }
  if (open === undefined && generation === 'always') openTurn(thinking);
  return open;
}

function renderBlock(writer: PromptWriter, block: Block, encoding: Encoding | undefined): void {
  if (block.kind === 'result') writer.text(`<tool_result>${block.text}</tool_result>`);
  else attach(writer.text(block.text), { tools: block.tools ?? [], schema: block.schema }, encoding);
}

/** Tools and schema after a text. */
function attach(writer: PromptWriter, { tools, schema }: Attachments, encoding: Encoding | undefined): void {
  if (tools.length > 0) {
    if (!encoding) throw needsWording('tools');
    writer.text('\n\n').template(encoding.tools, {
      dsml_token: (w) => w.mark(CHAT_TOKENS.dsml),
      thinking_start_token: (w) => w.mark(CHAT_TOKENS.think),
      thinking_end_token: (w) => w.mark(CHAT_TOKENS.endThink),
      tool_schemas: (w) => w.text(tools.map((f) => writeJson(f, NAMED)).join('\n')),
    });
  }
  if (schema !== undefined) {
    if (!encoding) throw needsWording('response formats');
    writer.text('\n\n').template(encoding.responseFormat, { schema: (w) => w.text(writeJson(schema, NAMED)) });
  }
}

/** An assistant's turn. A prefix with reasoning alone is gone on with inside the reasoning, which the encoder cannot do. */
function renderAnswer(writer: PromptWriter, turn: Turn, reasons: boolean): Open | undefined {
  const { text, calls, reasoning } = turn;
  if (turn.prefix && reasons && text === '' && calls.length === 0) {
    writer.text(reasoning);
    return 'thinking';
  }
  const thoughts = new PromptWriter();
  if (reasons) thoughts.text(reasoning).mark(CHAT_TOKENS.endThink);
  const rest = new PromptWriter().text(text);
  if (calls.length > 0) {
    rest.text('\n\n<').mark(CHAT_TOKENS.dsml).text(`${CALLS_BLOCK}>\n`);
    calls.forEach((call, i) => {
      rest
        .text(`${i > 0 ? '\n' : ''}<`)
        .mark(CHAT_TOKENS.dsml)
        .text(`invoke name="${call.name}">\n`);
      escapeArguments(call.arguments).forEach(({ key, isString, value }, n) => {
        rest.text(`${n > 0 ? '\n' : ''}<`).mark(CHAT_TOKENS.dsml);
        rest.text(`parameter name="${key}" string="${isString}">${value}</`).mark(CHAT_TOKENS.dsml).text('parameter>');
      });
      rest.text('\n</').mark(CHAT_TOKENS.dsml).text('invoke>');
    });
    rest.text('\n</').mark(CHAT_TOKENS.dsml).text(`${CALLS_BLOCK}>`);
  }
  const whole = !turn.woEos && !turn.prefix;
  if (whole) rest.mark(CHAT_TOKENS.eos);
  if (whole && turn.task === undefined) {
    writer.segments.push({
      kind: 'answer',
      turn,
      reasoning: reasons ? thoughts.segments : undefined,
      rest: rest.segments,
    });
    return undefined;
  }
  for (const segment of [...thoughts.segments, ...rest.segments]) {
    if (segment.kind === 'text') writer.text(segment.text);
    else writer.segments.push(segment);
  }
  return whole ? undefined : 'content';
}
