import { checkObject, checkOneOf, describe, KindError, UnsupportedError } from '@megamoe/core';
import type { JsonObject } from '../json';
import { CHAT_TOKENS } from '../markers';
import type { Stage } from '../encode';
import type { Tool } from '../types';
import { CallWriter } from './call-writer';
import { EventList, type OutputEvent, type OutputFinish, type ParsedCall, type ParsedOutput } from './events';
import { JsonOnly } from './json-only';
import { checkStopTexts, heldLength, StopTexts } from './stop-texts';
import { CLOSE, isCallsBlock, OPEN, readCloser, readHeader, readTag } from './tags';
import { ToolSchemas } from './tool-schemas';

/** How output is parsed. */
export interface OutputParserOptions {
  /** Where output begins: `stage` of the {@link EncodedConversation}. Default `content`. */
  readonly stage?: Stage | undefined;
  /**
   * Whether output goes on with text that the prompt has begun, `continued` of the {@link EncodedConversation}: newlines at its start are text
   * then. Default false.
   */
  readonly continued?: boolean | undefined;
  /**
   * The tools that may be called: `tools` of the {@link EncodedConversation}. True declares every name, without schemas. Without tools markup of
   * calls is plain text.
   */
  readonly tools?: boolean | readonly (Tool | JsonObject)[] | null | undefined;
  /** Give out the JSON of the content alone. */
  readonly jsonObject?: boolean | undefined;
  /** Texts that end the answer. They count in content only and are left out of it. */
  readonly stop?: string | readonly string[] | null | undefined;
  /** Whether more than one call may be made; false ends with the first. Default true. */
  readonly parallelToolCalls?: boolean | undefined;
}

const FN = 'OutputParser';
const END_THINK = CHAT_TOKENS.endThink;
const ANY = new RegExp(`${END_THINK}|</?${CHAT_TOKENS.dsml}`);
const DSML = new RegExp(`</?${CHAT_TOKENS.dsml}`);
const DSML_MARKERS = [OPEN, CLOSE];
const STRAY_PARAMETER = /^parameter[^<>\n]{0,256}>/;
const MAY_BE_STRAY_PARAMETER = /^parameter[^<>\n]{0,256}$/;

/** A block of calls that is open. */
interface Block {
  /** Whether its invokes are calls whatever they call; in others only declared names count. */
  wrapped: boolean;
  calls: number;
  /** White space after its tag, in case it is no block. */
  gap: string;
}

/**
 * Parses what the model says, as it streams: reasoning, content and calls. What comes out does not depend on how the text is cut, and joins
 * to {@link OutputParser.result}.
 *
 * Rules (docs/formats.md B4): reasoning ends at `</think>` or with a call; newlines at the start of reasoning and content are dropped, and those
 * before `</think>` and before calls; whatever could still become a marker is held back, and given out when it does not. With tools declared
 * no marker of a call is content, but for an invoke of a name that is not declared outside a block: that is a quotation.
 */
export class OutputParser {
  readonly #schemas: ToolSchemas;
  readonly #markers: readonly string[];
  readonly #pattern: RegExp;
  readonly #stops: StopTexts;
  readonly #json: JsonOnly | undefined;
  readonly #parallel: boolean;
  readonly #events = new EventList();
  readonly #calls: ParsedCall[] = [];
  #reasoning: string | null = null;
  #content: string | null = null;

  /** What to do with the text that waits: each is a step below. */
  #state: 'text' | 'opener' | 'closer' | 'block' | 'invoke' | 'header' | 'value' | 'valueEnd' | 'done' = 'text';
  #waiting = '';
  #carry = '';
  #inReasoning: boolean;
  /** Whether reasoning, or content, has begun; newlines before are dropped. */
  #begun = false;
  /** Newlines that are text if text follows. */
  #newlines = 0;
  /** Within an invoke that is text. */
  #quoting = false;
  #block: Block | undefined;
  #call: CallWriter | undefined;
  #complete = 0;
  #ended = false;
  #finish: OutputFinish | null = null;

  constructor(options: OutputParserOptions = {}) {
    checkObject(FN, 'options', options);
    const { stage = 'content', tools, continued = false, jsonObject = false, parallelToolCalls = true, stop } = options;
    for (const [arg, v] of Object.entries({ continued, jsonObject, parallelToolCalls }))
      if (typeof v !== 'boolean') throw new KindError(`${FN}: "${arg}" must be a boolean, got ${describe(v)}`);
    checkOneOf(FN, 'stage', stage, ['thinking', 'content', 'tool_calls']);
    this.#schemas = new ToolSchemas(FN, tools);
    this.#stops = new StopTexts(checkStopTexts(FN, stop));
    this.#json = jsonObject ? new JsonOnly() : undefined;
    this.#parallel = parallelToolCalls;
    const { declared } = this.#schemas;
    this.#markers = declared ? [END_THINK, ...DSML_MARKERS] : [END_THINK];
    this.#pattern = declared ? ANY : new RegExp(END_THINK);
    this.#inReasoning = stage === 'thinking';
    this.#begun = continued;
    if (stage === 'tool_calls') {
      if (!declared) throw new UnsupportedError(`${FN}: stage tool_calls needs tools`);
      this.#state = 'block';
      this.#block = { wrapped: true, calls: 0, gap: '' };
    }
  }

  /** Whether nothing that follows can count: generation may stop. */
  get done(): boolean {
    return this.#state === 'done';
  }

  /** What has been parsed until now. */
  get result(): ParsedOutput {
    return {
      reasoning: this.#reasoning,
      content: this.#content,
      toolCalls: this.#calls.map((call) => ({ ...call })),
      finishReason: this.#finish,
      stopSequence: this.#stops.met,
    };
  }

  /** Takes more output: text with the markers of {@link OUTPUT_MARKERS} in it and without other special tokens. */
  push(text: string): OutputEvent[] {
    if (typeof text !== 'string') throw new KindError(`${FN}.push: "text" must be a string, got ${typeof text}`);
    if (this.#ended) throw new UnsupportedError(`${FN}.push: the output has ended; a parser is for one answer`);
    const all = this.#carry + text;
    const half = /[\ud800-\udbff]$/.test(all); // its other half comes with the next piece
    this.#carry = half ? all.slice(-1) : '';
    this.#take(half ? all.slice(0, -1) : all);
    return this.#events.take();
  }

  /**
   * The output has ended: gives out what was held back, and why it ended.
   * @param finish why generation ended: `stop` for a token or text that ends it, `length` for a limit
   */
  end(finish: 'stop' | 'length' = 'stop'): OutputEvent[] {
    checkOneOf(`${FN}.end`, 'finish', finish, ['stop', 'length']);
    if (this.#ended) return [];
    this.#ended = true;
    this.#take(this.#carry);
    const closed = this.#state === 'done';
    this.#flush(finish);
    const open = this.#call?.begun === true;
    const called = this.#complete > 0 && !open && (closed || finish === 'stop');
    this.#finish =
      this.#stops.met !== null ? 'stop' : called ? 'tool_calls' : open ? 'length' : closed ? 'stop' : finish;
    this.#events.add({ type: 'finish', finishReason: this.#finish, stopSequence: this.#stops.met });
    return this.#events.take();
  }

  #take(text: string): void {
    if (this.done) return;
    this.#waiting += text;
    while (this.#step());
    if (this.done) this.#waiting = '';
  }

  /** One step over what waits; false when it needs more. */
  #step(): boolean {
    switch (this.#state) {
      case 'text':
        return this.#stepText();
      case 'opener':
        return this.#stepOpener();
      case 'closer':
        return this.#stepCloser();
      case 'block':
        return this.#stepBlock();
      case 'invoke':
        return this.#stepInvoke();
      case 'header':
        return this.#stepHeader(false);
      case 'value':
        return this.#stepValue();
      case 'valueEnd':
        return this.#stepValueEnd();
      case 'done':
        return false;
    }
  }

  #skip(n: number): void {
    this.#waiting = this.#waiting.slice(n);
  }

  /** Reasoning or content, up to a marker. */
  #stepText(): boolean {
    const found = this.#pattern.exec(this.#waiting);
    if (!found) {
      const shown = this.#waiting.length - heldLength(this.#waiting, this.#markers);
      this.#text(this.#waiting.slice(0, shown));
      this.#skip(shown);
      return false;
    }
    this.#text(this.#waiting.slice(0, found.index));
    if (this.done) return false;
    this.#skip(found.index + found[0].length);
    if (found[0] !== END_THINK) this.#state = found[0] === OPEN ? 'opener' : 'closer';
    else this.#endThink();
    return true;
  }

  /** Reasoning ends, with the newlines before; in content, which has begun then, the marker alone is dropped. */
  #endThink(): void {
    if (this.#inReasoning) [this.#inReasoning, this.#begun] = [false, false];
    else {
      if (this.#begun && this.#newlines > 0) this.#show('\n'.repeat(this.#newlines));
      this.#begun = true;
    }
    this.#newlines = 0;
  }

  /** What a marker in the text begins. */
  #stepOpener(): boolean {
    const tag = readTag(this.#waiting);
    if (tag.kind === 'more') return false;
    this.#state = 'text';
    if (tag.kind === 'block') {
      this.#skip(tag.length);
      this.#quoting = false;
      this.#block = { wrapped: isCallsBlock(tag.name), calls: 0, gap: '' };
      this.#state = 'block';
    } else if (tag.kind === 'invoke' && this.#schemas.has(tag.name)) {
      this.#skip(tag.length);
      this.#block = { wrapped: false, calls: 0, gap: '' };
      this.#begin(tag.name);
    } else if (tag.kind === 'invoke') this.#quote(tag.length);
    else if (tag.kind === 'malformed' || (tag.kind === 'parameter' && this.#quoting)) this.#text(OPEN);
    else if (tag.kind === 'parameter') {
      if (MAY_BE_STRAY_PARAMETER.test(this.#waiting)) {
        this.#state = 'opener';
        return false;
      }
      this.#skip(STRAY_PARAMETER.exec(this.#waiting)?.[0].length ?? 0);
    }
    return true;
  }

  /** An invoke that is no call is text up to its end. */
  #quote(length: number): void {
    this.#text(OPEN + this.#waiting.slice(0, length));
    this.#skip(length);
    this.#quoting = true;
    this.#state = 'text';
  }

  /** An end tag in the text: of what is quoted it is text, else it is dropped. */
  #stepCloser(): boolean {
    const closer = readCloser(this.#waiting);
    if (closer === 'more') return false;
    this.#state = 'text';
    if (closer === 'none') return true;
    this.#skip(closer.length);
    if (this.#quoting && (closer.name === 'parameter' || closer.name === 'invoke')) {
      this.#quoting = closer.name === 'parameter';
      this.#text(`${CLOSE}${closer.name}>`);
    }
    return true;
  }

  /** Between the calls of a block. */
  #stepBlock(): boolean {
    const block = this.#block!;
    const blanks = /^\s*/.exec(this.#waiting)![0];
    block.gap += blanks;
    this.#skip(blanks.length);
    if (DSML_MARKERS.some((marker) => marker.startsWith(this.#waiting) && marker !== this.#waiting)) return false;
    if (this.#waiting.startsWith(OPEN)) {
      const tag = readTag(this.#waiting.slice(OPEN.length));
      if (tag.kind === 'more') return false;
      const known = tag.kind === 'invoke' && (block.wrapped || this.#schemas.has(tag.name));
      if (tag.kind === 'invoke' && !known && block.calls === 0) return this.#leave(block.gap);
      if (tag.kind === 'block') block.wrapped ||= isCallsBlock(tag.name);
      this.#skip(OPEN.length + ('length' in tag ? tag.length : 0));
      if (tag.kind === 'invoke' && known) this.#begin(tag.name);
      return true;
    }
    if (this.#waiting.startsWith(CLOSE)) {
      const closer = readCloser(this.#waiting.slice(CLOSE.length));
      if (closer === 'more') return false;
      this.#skip(CLOSE.length + (closer === 'none' ? 0 : closer.length));
      if (closer === 'none' || closer.name === 'invoke' || closer.name === 'parameter') return true;
      if (block.calls === 0) return this.#leave('');
      this.#state = 'done';
      return false;
    }
    if (block.calls === 0) return this.#leave(block.gap);
    return this.#dropToMarker(); // text between calls
  }

  /** There was no call in the block: what follows is text. */
  #leave(gap: string): boolean {
    this.#block = undefined;
    this.#state = 'text';
    this.#waiting = gap + this.#waiting;
    return true;
  }

  /** Drops text up to a marker; false when there is none yet. */
  #dropToMarker(): boolean {
    const at = this.#waiting.search(DSML);
    this.#skip(at < 0 ? this.#waiting.length - heldLength(this.#waiting, DSML_MARKERS) : at);
    return at >= 0;
  }

  /** A call begins; what is before it is complete. */
  #begin(name: string): void {
    this.#newlines = 0;
    this.#quoting = false;
    this.#flushContent();
    if (this.done) return; // a stop text was in what was held back
    this.#inReasoning = false;
    this.#block!.calls++;
    this.#call = new CallWriter(name, this.#events, this.#schemas, this.#calls);
    this.#state = 'invoke';
  }

  #close(): void {
    this.#call!.end();
    this.#call = undefined;
    this.#complete++;
    this.#state = this.#parallel ? 'block' : 'done';
  }

  /** Between the parameters of a call. */
  #stepInvoke(): boolean {
    if (!this.#dropToMarker()) return false;
    if (this.#waiting.startsWith(CLOSE)) {
      const closer = readCloser(this.#waiting.slice(CLOSE.length));
      if (closer === 'more') return false;
      this.#skip(CLOSE.length);
      this.#endTag(closer);
      return true;
    }
    const tag = readTag(this.#waiting.slice(OPEN.length));
    if (tag.kind === 'more') return false;
    if (tag.kind === 'invoke')
      this.#close(); // the end tag is missing; the block has this one
    else {
      this.#skip(OPEN.length + ('length' in tag ? tag.length : 0));
      if (tag.kind === 'parameter') this.#state = 'header';
    }
    return true;
  }

  /** What an end tag ends, within a call; consumes its name. */
  #endTag(closer: Exclude<ReturnType<typeof readCloser>, 'more'>): void {
    this.#state = 'invoke';
    if (closer === 'none') return;
    this.#skip(closer.length);
    if (closer.name !== 'invoke' && !isCallsBlock(closer.name)) return;
    this.#close();
    if (closer.name !== 'invoke') this.#state = 'done';
  }

  #stepHeader(whole: boolean): boolean {
    const header = readHeader(this.#waiting, whole); // with `whole` never `more`
    if (header === 'more') return false;
    if (header === 'malformed') this.#state = 'invoke';
    else {
      this.#skip(header.length);
      this.#call!.open(header.key, header.string);
      this.#state = 'value';
    }
    return true;
  }

  #stepValue(): boolean {
    const at = this.#waiting.indexOf(CLOSE);
    const to = at < 0 ? this.#waiting.length - heldLength(this.#waiting, [CLOSE]) : at;
    this.#call!.value(this.#waiting.slice(0, to));
    this.#skip(to);
    if (at < 0) return false;
    this.#skip(CLOSE.length);
    this.#call!.close();
    this.#state = 'valueEnd';
    return true;
  }

  #stepValueEnd(): boolean {
    const closer = readCloser(this.#waiting);
    if (closer === 'more') return false;
    this.#endTag(closer);
    return true;
  }

  /** Gives out text of the section; newlines at its end wait, those at its start are dropped. */
  #text(text: string): void {
    let end = text.length;
    while (end > 0 && text[end - 1] === '\n') end--;
    if (end === 0) {
      this.#newlines += text.length;
      return;
    }
    let shown = text.slice(0, end);
    if (this.#begun) shown = '\n'.repeat(this.#newlines) + shown;
    else shown = shown.replace(/^\n+/, '');
    this.#begun = true;
    this.#newlines = text.length - end;
    this.#show(shown);
  }

  #show(text: string): void {
    if (this.#inReasoning) {
      this.#reasoning = (this.#reasoning ?? '') + text;
      this.#events.add({ type: 'reasoning', text });
      return;
    }
    this.#showContent(this.#stops.push(this.#json ? this.#json.push(text) : text));
    if (this.#stops.met !== null || (this.#json?.complete && !this.#schemas.declared)) this.#state = 'done';
  }

  #showContent(text: string): void {
    if (text === '') return;
    this.#content = (this.#content ?? '') + text;
    this.#events.add({ type: 'content', text });
  }

  #flushContent(): void {
    if (this.#inReasoning) return;
    this.#showContent(this.#stops.push(this.#json?.flush() ?? ''));
    this.#showContent(this.#stops.flush());
    if (this.#stops.met !== null) this.#state = 'done';
  }

  /** The output was cut off within a parameter. */
  #flushValue(): void {
    if (this.#state === 'value') this.#call!.value(this.#waiting);
    this.#call!.cut();
  }

  /** No more comes: what was held back is what it was. */
  #flush(finish: 'stop' | 'length'): void {
    switch (this.#state) {
      case 'text':
        this.#text(this.#waiting);
        if (this.#begun && this.#newlines > 0) this.#show('\n'.repeat(this.#newlines));
        break;
      case 'closer':
        if (this.#begun && this.#newlines > 0) this.#show('\n'.repeat(this.#newlines));
        break;
      case 'header':
        this.#stepHeader(true);
        this.#flushValue();
        break;
      case 'value':
        this.#flushValue();
        break;
      case 'invoke':
      case 'valueEnd': {
        const isEnding = this.#state === 'invoke' && this.#waiting.startsWith(CLOSE);
        if (isEnding || (finish === 'stop' && this.#call!.whole)) this.#close();
        else this.#call!.cut();
        break;
      }
      default: // a tag that was begun, or a block: markup, of which nothing is shown
    }
    this.#flushContent();
    this.#waiting = '';
  }
}
