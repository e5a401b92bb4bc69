/** Arguments of the wrong kind: an error that names function and argument, whatever came. */
import { expect, it } from 'vitest';
import {
  AnswerMemory,
  encodeConversation,
  JsonNumber,
  OutputParser,
  parseEncoding,
  readEncoding,
  readJson,
  writeJson,
} from '../src/index';
import type { EncodeOptions, Encoding } from '../src/index';

const as = <T>(v: unknown): T => v as T;
const request = { messages: [{ role: 'user', content: 'hi' }] } as const;
const tokenizer = { specialIds: new Map(), encode: () => [] };

it.each<[string, () => unknown]>([
  ['encodeConversation: "options" must be an object, got null', () => encodeConversation(request, as(null))],
  ['encodeConversation: "tokenizer" must be an object, got undefined', () => encodeConversation(request, as({}))],
  [
    'encodeConversation: "encoding.contract" must be one of preview, official, got undefined',
    () => encodeConversation(request, as<EncodeOptions>({ tokenizer, encoding: {} })),
  ],
  [
    'encodeConversation: "memory" must be an AnswerMemory, got Map',
    () => encodeConversation(request, as<EncodeOptions>({ tokenizer, memory: new Map() })),
  ],
  ['AnswerMemory: "options" must be an object, got null', () => new AnswerMemory(as(null))],
  [
    'AnswerMemory.remember: "remembered" must be an object, got undefined',
    () => {
      new AnswerMemory().remember(as(undefined));
    },
  ],
  [
    'AnswerMemory.recall: "before" must be an array of token ids, got null',
    () => new AnswerMemory().recall(as(null), {}),
  ],
  ['AnswerMemory.recall: "before" must hold token ids', () => new AnswerMemory().recall([1.5], {})],
  [
    'AnswerMemory.recallAfter: "answer.content" must be a string, got 3',
    () => new AnswerMemory().recallAfter('', as({ content: 3 })),
  ],
  ['OutputParser: "options" must be an object, got null', () => new OutputParser(as(null))],
  ['OutputParser: "jsonObject" must be a boolean, got 1', () => new OutputParser({ jsonObject: as(1) })],
  ['parseEncoding: "options" must be an object, got null', () => parseEncoding('', '', as(null))],
  ['parseEncoding: "source" must be a string, got undefined', () => parseEncoding('', as(undefined))],
  ['writeJson: "options" must be an object, got null', () => writeJson({}, as(null))],
  ['f: JSON has no symbol', () => writeJson(Symbol.iterator, { name: 'f' })],
  ['readJson: "options" must be an object, got null', () => readJson('1', as(null))],
  ['JsonNumber: "source" must be a string, got Symbol(x)', () => new JsonNumber(as(Symbol('x')))],
])('%s', (message, call) => expect(call).toThrow(message));

it('readEncoding says what it was given instead of a path', async () => {
  await expect(readEncoding(as(Symbol('x')))).rejects.toThrow('readEncoding: "path" must be a string, got Symbol(x)');
  await expect(readEncoding('.', as(null))).rejects.toThrow('readEncoding: "options" must be an object, got null');
});

it('takes a wording that is a copy, and reads its parts once', () => {
  const encoding: Encoding = {
    ...{ contract: 'preview', source: 'a test', tools: [{ text: 'T' }], responseFormat: [{ field: 'schema' }] },
    effortText: { low: '', high: '', max: 'M' },
  };
  const ids = new Map(['bos', 'user'].map((name, i) => [name, i]));
  const all = { specialIds: new Proxy(ids, {}), encode: () => [] };
  expect(() => encodeConversation(request, { tokenizer: all as never, encoding })).toThrow();
  expect(() =>
    encodeConversation(request, { tokenizer, encoding: { ...encoding, tools: as([{ field: 'other' }]) } }),
  ).toThrow('encodeConversation: "encoding.tools[0].field" must be one of dsml_token,');
});
