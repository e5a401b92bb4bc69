import type { Tokenizer } from '@megamoe/checkpoint';
import { EngineClosedError } from '../errors';
import type { Model } from '../model';
import { stopTokenIds } from '../request';
import { EngineCore, type CoreLimits } from './core';
import { checkRequest, longestIn, takeCloseOptions } from './options';
import { ChunkStream, followSignal } from './stream';
import type { CloseOptions, Engine, EngineHealth, EngineRequest, EngineStats, EngineStream, ModelFacts } from './types';
import { sequenceBytes } from '@megamoe/ops';

/** What is known of a model. */
export function factsOf(model: Model, id: string, { kvBytes }: CoreLimits): ModelFacts {
  const { config, generationConfig, backend, formats, warnings } = model;
  const { layers } = model.memory;
  const maxTokens = longestIn(kvBytes, config.maxPositionEmbeddings, layers);
  return {
    id,
    config,
    generationConfig,
    maxTokens,
    stopTokenIds: stopTokenIds(model),
    backend: backend.name,
    formats,
    warnings,
    kvBytesPerToken: sequenceBytes(maxTokens, layers) / maxTokens,
  };
}

/** An engine in this process: steps run between turns of the event loop. */
export class LocalEngine implements Engine {
  readonly #core: EngineCore;
  #status: EngineHealth['status'] = 'ready';
  #closing: Promise<void> | undefined;

  constructor(
    private readonly source: Model,
    readonly model: ModelFacts,
    private readonly limits: CoreLimits,
    /** Frees the model, when the engine has loaded it. */
    private readonly free: () => void,
  ) {
    this.#core = new EngineCore(source, limits);
  }

  get tokenizer(): Tokenizer {
    return this.source.tokenizer;
  }

  get hasTokenizer(): boolean {
    return this.source.hasTokenizer;
  }

  checkAdmission(): void {
    this.#core.checkAdmission();
  }

  submit(request: EngineRequest): EngineStream {
    this.#core.checkAdmission();
    const { maxTokens } = this.model;
    const checked = checkRequest(this.source, { maxTokens, maxSequences: this.limits.maxSequences }, request);
    const { signal } = request;
    const stream = new ChunkStream(Array.from(checked.promptIds), false);
    if (signal?.aborted) {
      stream.fail(signal.reason);
      return stream;
    }
    const job = this.#core.add(checked, stream);
    stream.onCancel = (reason) => this.#core.cancel(job, reason);
    stream.onFinish = (index) => this.#core.finish(job, index);
    stream.onEnd = followSignal(signal, (reason) => stream.cancel(reason));
    return stream;
  }

  stats(): EngineStats {
    return this.#core.stats();
  }

  health(): EngineHealth {
    return { status: this.#status };
  }

  async close(options: CloseOptions = {}): Promise<void> {
    const { drain, timeoutMs } = takeCloseOptions(options);
    if (this.#closing && drain) return this.#closing;
    this.#closing = this.#close(drain, timeoutMs);
    return this.#closing;
  }

  async #close(drain: boolean, timeoutMs: number | undefined): Promise<void> {
    if (this.#status === 'closed') return;
    if (drain) {
      this.#status = 'draining';
      this.#core.refuse(new EngineClosedError('Engine: the engine is closing and takes no more requests'));
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        if (timeoutMs !== undefined) timer = setTimeout(resolve, timeoutMs);
      });
      await Promise.race([this.#core.idle(), late]);
      clearTimeout(timer);
    }
    this.#status = 'closed';
    this.#core.close();
    this.free();
  }

  /** In process there is nothing to restart. */
  restart(): Promise<void> {
    return this.#status === 'ready' ? Promise.resolve() : Promise.reject(new EngineClosedError());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
