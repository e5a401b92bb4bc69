import { checkString, KindError, ValueError } from '@megamoe/core';
import { basename, resolve } from 'node:path';
import { loadModel, takeLoadOptions, type LoadOptions } from '../load';
import { Model } from '../model';
import { checkOptionNames } from '../options';
import { factsOf, LocalEngine } from './local';
import { LIMIT_NAMES, limitsFor, type EngineLimits } from './options';
import type { Engine } from './types';
import { WorkerEngine } from './worker-engine';

/** How to open an engine. */
export interface OpenEngineOptions extends EngineLimits {
  /** A checkpoint folder, or a model that is loaded; the latter stays the caller's to dispose of. */
  readonly model: string | Model;
  /** How to load it, when it is a folder. */
  readonly load?: LoadOptions | undefined;
  /** Name of the model in {@link ModelFacts}; default: the folder's. */
  readonly id?: string | undefined;
  /** Load the model and run its steps in a worker thread, so that the event loop stays free. For a folder only. Default false. */
  readonly worker?: boolean | undefined;
}

/**
 * Opens an engine: loads a model, or takes one, and serves requests with it.
 * @throws as `loadModel`; ValueError, KindError for options that cannot be; WorkerError when the worker cannot be started
 */
export function openEngine(o: OpenEngineOptions): Promise<Engine> {
  return openEngineWith(new URL('./engine-worker.js', import.meta.url), o);
}

/** {@link openEngine} with the place of the built worker: beside this module, once that is built. */
export async function openEngineWith(url: URL, o: OpenEngineOptions): Promise<Engine> {
  const fn = 'openEngine';
  checkOptionNames(fn, o, ['model', 'load', 'id', 'worker', ...LIMIT_NAMES]);
  const { model: source, load: asked = {}, worker = false, id: name } = o;
  if (typeof source !== 'string' && !(source instanceof Model)) {
    throw new KindError(`${fn}: "model" must be a checkpoint folder or a model, got ${typeof source}`);
  }
  if (name !== undefined) checkString(fn, 'id', name);
  if (typeof worker !== 'boolean') throw new KindError(`${fn}: "worker" must be true or false, got ${typeof worker}`);
  if (typeof source !== 'string') {
    if (worker) throw new ValueError(`${fn}: "worker" loads a checkpoint folder itself; "model" must be its path`);
    return localEngine(source, o, name ?? 'model', () => undefined);
  }
  const load = takeLoadOptions(fn, asked);
  const id = name ?? basename(resolve(source));
  if (worker) {
    const { onPlan, onProgress, signal, ...plain } = load;
    if (typeof plain.backend === 'object') {
      throw new ValueError(`${fn}: a backend of your own cannot go to a worker; "load.backend" must be a name`);
    }
    const limits = Object.fromEntries(LIMIT_NAMES.map((name) => [name, o[name]]));
    const reports = { plan: onPlan !== undefined, progress: onProgress !== undefined };
    const setup = { directory: resolve(source), id, load: plain, limits, reports };
    return WorkerEngine.open(url, setup, { onPlan, onProgress, signal });
  }
  const model = await loadModel(source, load);
  try {
    return localEngine(model, o, id, () => model.dispose());
  } catch (error) {
    model.dispose();
    throw error;
  }
}

function localEngine(model: Model, o: OpenEngineOptions, id: string, free: () => void): Engine {
  const limits = limitsFor('openEngine', o, model);
  return new LocalEngine(model, factsOf(model, id, limits), limits, free);
}
