import { AnswerMemory, type Encoding } from '@megamoe/chat';
import type { Engine } from '@megamoe/model';
import { UnsupportedError } from '@megamoe/core';
import { createHash } from 'node:crypto';
import { OutputVocabulary } from './answer/decoder';
import type { Logger } from './log';
import { PromptEncoder } from './tokens/prompts';
import { TokenizerThread } from './tokens/thread';

/** What a server serves. */
export interface ServedModel {
  readonly engine: Engine;
  /** The checkpoint's wording of prompts; without it tools, schemas and efforts above low are refused. */
  readonly encoding?: Encoding | undefined;
  /** Names under which the model is asked for, the first is the one that is shown. Default: the engine's id. `default` is always one. */
  readonly names?: readonly string[] | undefined;
}

/** What a {@link Served} is made with. */
export interface ServedOptions {
  readonly log: Logger;
  /** Most characters of texts that wait to be encoded. */
  readonly maxCharacters: number;
  /** What runs in the tokenizer's thread; default: what has been built beside this. */
  readonly tokenizerWorker?: URL | undefined;
}

/** An id that stands for the model whatever it is called. */
const ALIAS = 'default';

/** A model ready to answer, with what is remembered of its answers. */
export class Served {
  readonly engine: Engine;
  readonly encoding: Encoding | undefined;
  readonly names: readonly string[];
  readonly vocabulary: OutputVocabulary;
  readonly memory = new AnswerMemory();
  /** Answers long texts in a thread of its own. */
  readonly tokens: TokenizerThread;
  readonly prompts: PromptEncoder;
  /** Changes when answers may change: model, formats, backend. */
  readonly fingerprint: string;
  /** Seconds since 1970 at which it was ready. */
  readonly created = Math.floor(Date.now() / 1000);
  /** Bytes of the longest token: so many bytes of text are one token at least. */
  readonly longestToken: number;

  /** @throws UnsupportedError for a model without a tokenizer */
  constructor({ engine, encoding, names }: ServedModel, { log, maxCharacters, tokenizerWorker }: ServedOptions) {
    if (!engine.hasTokenizer) {
      throw new UnsupportedError(
        'createServer: the model has no tokenizer.json; a server needs one to read and write text',
      );
    }
    const { id, backend, formats } = engine.model;
    this.engine = engine;
    this.encoding = encoding;
    this.names = names && names.length > 0 ? names : [id];
    const limits = { maxOrders: engine.stats().maxQueue, maxCharacters };
    this.tokens = new TokenizerThread(engine.tokenizer, limits, log, tokenizerWorker);
    this.prompts = new PromptEncoder(engine.tokenizer, this.tokens);
    this.vocabulary = new OutputVocabulary(engine.tokenizer);
    const print = createHash('sha256')
      .update(JSON.stringify([id, backend, formats]))
      .digest('hex');
    this.fingerprint = `fp_${print.slice(0, 12)}`;
    let longest = 1;
    const { tokenizer } = engine;
    for (let token = 0; token < tokenizer.vocabSize; token++) {
      longest = Math.max(longest, tokenizer.tokenBytes(token).length);
    }
    this.longestToken = longest;
  }

  /** The name that answers carry. */
  get name(): string {
    return this.names[0]!;
  }

  /** Whether a name means this model. */
  has(name: string): boolean {
    return name === ALIAS || this.names.includes(name);
  }
}
