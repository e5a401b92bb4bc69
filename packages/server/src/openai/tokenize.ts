import * as z from 'zod';
import type { AppContext, ServerContext } from '../context';
import { badRequest, requestError } from '../errors';
import { clientSignal } from '../http/client';
import { checkLength, encode } from './chat-request';
import { checkFields } from './fields';
import { checkConversation, checkTools, messages, tools } from './messages';

const text = z.string();
const flag = z.boolean().nullish();

const tokenizeFields = z.looseObject({
  model: text.nullish(),
  prompt: text.nullish(),
  content: text.nullish(),
  messages: messages.nullish(),
  tools: tools.nullish(),
  add_special_tokens: flag,
  add_special: flag,
  parse_special: flag,
  return_token_strs: flag,
  with_pieces: flag,
});

const detokenizeFields = z.looseObject({ model: text.nullish(), tokens: z.array(z.int().min(0)) });

/** POST /tokenize: vLLM's `{prompt}` or `{messages}`, or llama.cpp's `{content}`. */
export async function tokenize(context: ServerContext, c: AppContext): Promise<Response> {
  const served = context.host.use();
  const body = await context.body(c);
  const fields = checkFields(tokenizeFields, body.plain);
  context.checkModel(served, fields.model);
  const { model } = served.engine;
  const { signal } = clientSignal(c);
  const given = [fields.prompt, fields.content, fields.messages].filter((v) => v !== undefined && v !== null);
  if (given.length !== 1) {
    throw badRequest('Give exactly one of "prompt", "messages" and "content".', 'prompt');
  }
  let ids: number[];
  if (fields.messages) {
    checkConversation(fields.messages);
    checkTools(fields.tools ?? []);
    const { thinking } = context.settings;
    ids = (await encode(served, body, { thinking, scope: context.cacheKey(c, undefined), signal })).tokenIds;
  } else {
    // llama.cpp adds no BOS unless it is told to, vLLM does unless it is told not to.
    const isContent = fields.content !== undefined && fields.content !== null;
    const bos = (isContent ? fields.add_special : fields.add_special_tokens) ?? !isContent;
    const source = fields.content ?? fields.prompt!;
    checkLength(served, source);
    const [encoded] = await served.tokens.encode(
      [{ text: source, parseSpecial: fields.parse_special ?? true }],
      signal,
    );
    ids = [...encoded!];
    if (bos && ids[0] !== model.config.bosTokenId) ids.unshift(model.config.bosTokenId);
  }
  const wanted = fields.with_pieces === true || fields.return_token_strs === true;
  const pieces = wanted ? await served.tokens.pieces(ids, signal) : [];
  return c.json({
    count: ids.length,
    max_model_len: model.maxTokens,
    tokens: fields.with_pieces ? ids.map((id, i) => ({ id, piece: pieces[i]! })) : ids,
    token_strs: fields.return_token_strs ? pieces : null,
  });
}

/** POST /detokenize: `{tokens}` -> `{prompt, content}`. */
export async function detokenize(context: ServerContext, c: AppContext): Promise<Response> {
  const served = context.host.use();
  const { plain } = await context.body(c);
  const { model, tokens } = checkFields(detokenizeFields, plain);
  context.checkModel(served, model);
  const { model: facts } = served.engine;
  const bad = tokens.findIndex((id) => id >= facts.config.vocabSize);
  if (bad >= 0) {
    throw badRequest(`"tokens[${bad}]": ${tokens[bad]} is no token id below ${facts.config.vocabSize}.`, 'tokens');
  }
  try {
    const prompt = await served.tokens.decode(tokens, clientSignal(c).signal);
    return c.json({ prompt, content: prompt });
  } catch (error) {
    throw requestError(error);
  }
}
