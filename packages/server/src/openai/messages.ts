import * as z from 'zod';
import { badRequest } from '../errors';

const content = z
  .union([z.string(), z.array(z.union([z.string(), z.looseObject({ type: z.string() })]))], {
    error: 'must be a string, a list of parts with a type, or null',
  })
  .nullish();
const call = z.looseObject({
  id: z.string().nullish(),
  type: z.literal('function').nullish(),
  function: z.looseObject({ name: z.string() }), // what its arguments may be is the encoder's to say
});

const message = z.looseObject({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool', 'latest_reminder']),
  content,
  reasoning_content: content,
  reasoning: content,
  tool_calls: z.array(call).nullish(),
  tool_call_id: z.string().nullish(),
  prefix: z.boolean().nullish(),
});

/** The messages of a conversation. */
export const messages = z.array(message).min(1, 'must hold at least one message');
/** One of {@link messages}. */
export type MessageFields = z.infer<typeof message>;

/** The functions that may be called. */
export const tools = z.array(
  z.looseObject({
    type: z.literal('function'),
    function: z.looseObject({
      name: z.string().regex(/^[A-Za-z0-9_-]{1,128}$/, 'must be 1 to 128 of A-Z, a-z, 0-9, _ and -'),
      description: z.string().nullish(),
      parameters: z.looseObject({}).nullish(),
    }),
  }),
);

/** The text of a content whose parts have been checked, as the prompt has it. */
export function textOf(content: MessageFields['content']): string {
  if (!Array.isArray(content)) return content ?? '';
  return content.map((part) => (typeof part === 'string' ? part : String(part['text']))).join('\n\n');
}

const isEmpty = (value: unknown): boolean =>
  value === undefined || value === null || (Array.isArray(value) && value.length === 0);

/** What a conversation must hold to besides the kinds of its fields. @throws ApiError 400 */
export function checkConversation(all: readonly MessageFields[]): void {
  const calls = new Set<string>();
  let hasCalls = false;
  all.forEach(({ role, content, reasoning_content, reasoning, tool_calls, tool_call_id }, i) => {
    const where = `messages[${i}]`;
    if (Array.isArray(content)) {
      content.forEach((part, k) => {
        const at = `${where}.content[${k}]`;
        if (typeof part === 'object' && part.type === 'text' && typeof part['text'] !== 'string') {
          throw badRequest(`"${at}.text" must be a string.`, `${at}.text`);
        }
        if (typeof part === 'string' || part.type === 'text' || role === 'tool') return;
        throw badRequest(`"${at}" is of type ${part.type}; this model reads only parts of type text.`, at);
      });
    }
    if (role === 'assistant') {
      if (isEmpty(content) && isEmpty(tool_calls) && isEmpty(reasoning_content) && isEmpty(reasoning)) {
        throw badRequest(`"${where}": an assistant's message needs content or tool_calls.`, where);
      }
      for (const { id } of tool_calls ?? []) {
        hasCalls = true;
        if (typeof id === 'string') calls.add(id);
      }
    } else if (role === 'tool') {
      const known = hasCalls && (!tool_call_id || calls.size === 0 || calls.has(tool_call_id));
      if (!known) {
        throw badRequest(
          `"${where}": a tool's message answers a call that an assistant made before it; there is none${tool_call_id ? ` with id ${JSON.stringify(tool_call_id)}` : ''}.`,
          where,
        );
      }
    } else if (
      (role === 'user' || role === 'developer' || role === 'system') &&
      (content === undefined || content === null)
    ) {
      throw badRequest(`"${where}.content" of a ${role} must be a string or a list of text parts.`, `${where}.content`);
    }
  });
}

/** @throws ApiError 400 for two tools of one name, and parameters that are no schema of an object */
export function checkTools(all: z.infer<typeof tools>): void {
  const names = new Set<string>();
  all.forEach(({ function: f }, i) => {
    if (names.has(f.name)) {
      throw badRequest(
        `"tools[${i}].function.name": there are two tools named ${f.name}.`,
        `tools[${i}].function.name`,
      );
    }
    names.add(f.name);
    const { parameters } = f;
    if (!parameters || Object.keys(parameters).length === 0 || parameters['type'] === 'object') return;
    throw badRequest(
      `"tools[${i}].function.parameters" must be a JSON Schema of type object.`,
      `tools[${i}].function.parameters`,
    );
  });
}
