import type { AppContext, ServerContext } from '../context';
import { modelNotFound } from '../context';
import type { Served } from '../served';

/** A model as clients list it. */
function modelObject(served: Served, id: string) {
  const { maxTokens, config, formats, backend, kvBytesPerToken } = served.engine.model;
  return {
    id,
    object: 'model',
    created: served.created,
    owned_by: 'megamoe',
    root: served.engine.model.id,
    max_model_len: maxTokens,
    context_length: maxTokens,
    meta: {
      n_ctx: maxTokens,
      n_ctx_train: config.maxPositionEmbeddings,
      n_vocab: config.vocabSize,
      formats,
      backend,
      kv_bytes_per_token: Math.round(kvBytesPerToken),
      contract: served.encoding?.contract ?? null,
    },
  };
}

/** GET /v1/models. */
export function listModels(context: ServerContext, c: AppContext): Response {
  const served = context.host.use();
  return c.json({ object: 'list', data: served.names.map((id) => modelObject(served, id)) });
}

/** GET /v1/models/{id}. */
export function oneModel(context: ServerContext, c: AppContext): Response {
  const served = context.host.use();
  const id = decoded(c.req.path.slice('/v1/models/'.length));
  if (!served.has(id)) throw modelNotFound(served, id);
  return c.json(modelObject(served, id));
}

/** A part of a path without its escapes; one that is badly escaped is nobody's name. */
function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
