import { KindError } from '@megamoe/core';
import { basename, resolve } from 'node:path';
import { loadModel, type LoadOptions } from '../load';
import { Model } from '../model';
import { checkOptionNames } from '../options';
import { factsOf, LocalEngine } from './local';
import { LIMIT_NAMES, resolveLimits, type EngineLimits } from './options';
import type { Engine } from './types';

/** How to open an engine. */
export interface OpenEngineOptions extends EngineLimits {
  /** A checkpoint folder, or a model that is loaded; the latter stays the caller's to dispose of. */
  readonly model: string | Model;
  /** How to load it, when it is a folder. */
  readonly load?: LoadOptions | undefined;
  /** Name of the model in {@link ModelFacts}; default: the folder's. */
  readonly id?: string | undefined;
}

/**
 * Opens an engine: loads a model, or takes one, and serves requests with it.
 * @throws as `loadModel`; ValueError, KindError for options that cannot be
 */
export async function openEngine(o: OpenEngineOptions): Promise<Engine> {
  const fn = 'openEngine';
  checkOptionNames(fn, o, ['model', 'load', 'id', ...LIMIT_NAMES]);
  const { model: source, load } = o;
  if (typeof source !== 'string' && !(source instanceof Model)) {
    throw new KindError(`${fn}: "model" must be a checkpoint folder or a model, got ${typeof source}`);
  }
  const model = typeof source === 'string' ? await loadModel(source, load) : source;
  const owned = model !== source;
  try {
    const { layers } = model.memory;
    const shape = { layers, maxTokens: model.config.maxPositionEmbeddings, maxChunk: model.maxChunk };
    const limits = resolveLimits(fn, o, shape);
    const id = o.id ?? (typeof source === 'string' ? basename(resolve(source)) : 'model');
    return new LocalEngine(model, factsOf(model, id, limits), limits, () => {
      if (owned) model.dispose();
    });
  } catch (error) {
    if (owned) model.dispose();
    throw error;
  }
}
