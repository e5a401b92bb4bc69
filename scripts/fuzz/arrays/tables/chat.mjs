/** Valid calls of chat: conversations as they come over the network, and what a model says. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../../../lib/run.mjs';

const { loadTokenizer } = await import(pathToFileURL(join(ROOT, 'packages', 'checkpoint', 'dist', 'index.js')));
const DIR = join(ROOT, 'models', 'tiny');
const tokenizer = loadTokenizer(DIR);
const ENCODER = join(DIR, 'encoding', 'encoding_dsv4.py');
let wording;
const text = () => (wording ??= readFileSync(ENCODER, 'utf8'));

const tool = () => ({
  type: 'function',
  function: { name: 'look', description: 'd', parameters: { type: 'object', properties: { a: { type: 'string' } } } },
});
const call = () => ({ id: 'c1', type: 'function', function: { name: 'look', arguments: '{"a":"b"}' } });
const request = (r) => ({
  messages: [
    { role: 'system', content: 'be short' },
    { role: 'user', content: r.pick(['hi', [{ type: 'text', text: 'hi' }]]) },
    ...r.pick([
      [],
      [
        { role: 'assistant', content: 'yes', reasoning_content: 'hm' },
        { role: 'user', content: 'and?' },
      ],
    ]),
    ...r.pick([
      [],
      [
        { role: 'assistant', content: null, tool_calls: [call()] },
        { role: 'tool', tool_call_id: 'c1', content: 'x' },
      ],
    ]),
  ],
  ...r.pick([{}, { tools: [tool()], tool_choice: 'auto' }, { response_format: { type: 'json_object' } }]),
});
const options = (r, m) => ({
  ...{ tokenizer, encoding: m.parseEncoding(text(), 'file'), thinking: r.flag(), memory: new m.AnswerMemory() },
  ...{ generationPrompt: r.pick(['encoder', 'always']), scope: 's' },
});
const answer = (r) => ({
  content: r.pick(['text', null]),
  toolCalls: r.pick([[], [{ id: 'c', name: 'f', arguments: '{"a": 1}' }]]),
});
const remembered = (r) => ({ before: r.ints(3, 0, 9), ids: r.ints(4, 0, 9), answer: answer(r), scope: 's' });
const memory = (r, m) => {
  const self = new m.AnswerMemory({ maxAnswers: 4, maxTokens: 99 });
  self.remember({ before: [1, 2], ids: [3], answer: { content: 'text', toolCalls: [] }, scope: 's' });
  return self;
};
const held = ({ self }) => `${self.size} ${self.tokens}`;
const of = (args) => (r, m) => ({ self: memory(r, m), args: args(r), state: held });
const parsing = (r) => ({
  stage: r.pick(['thinking', 'content']),
  tools: r.pick([[tool()], undefined]),
  jsonObject: r.flag(),
  stop: r.pick(['end', ['a', 'b'], null]),
  parallelToolCalls: r.flag(),
});
const SAID = ['hm</think>\n\nyes', 'plain', '{"a": 1}', '<｜DSML｜function_calls>\n<｜DSML｜invoke name="look">\n'];
const parser = (r, m) => {
  const self = new m.OutputParser(parsing(r));
  if (r.flag()) self.push(r.pick(SAID));
  return self;
};

export const calls = {
  AnswerMemory: (r) => ({
    args: [{ maxAnswers: r.int(0, 4), maxTokens: 99 }].slice(0, r.int(0, 1)),
    observe: (x) => [x.size, x.tokens],
  }),
  'AnswerMemory.size': of(() => []),
  'AnswerMemory.tokens': of(() => []),
  'AnswerMemory.remember': (r, m) => ({
    ...of(() => [remembered(r)])(r, m),
    observe: (_, { self }) => [self.size, self.tokens],
  }),
  'AnswerMemory.recall': of((r) => [[1, 2], answer(r), 's']),
  'AnswerMemory.recallAfter': of((r) => ['hash', answer(r), 's']),
  'AnswerMemory.clear': of(() => []),
  JsonNumber: (r) => ({ args: [r.pick(['1.50', 'NaN'])] }),
  'JsonNumber.valueOf': (r, m) => ({ self: new m.JsonNumber('1.5'), args: [] }),
  'JsonNumber.toJSON': (r, m) => ({ self: new m.JsonNumber('1.5'), args: [] }),
  OutputParser: (r) => ({ args: [parsing(r)], isData: true, observe: (p) => [p.push(SAID[0]), p.end(), p.result] }),
  'OutputParser.done': (r, m) => ({ self: parser(r, m), args: [] }),
  'OutputParser.result': (r, m) => ({ self: parser(r, m), args: [] }),
  'OutputParser.push': (r, m) => ({
    self: parser(r, m),
    args: [r.pick(SAID)],
    state: ({ self }) => JSON.stringify(self.result),
  }),
  'OutputParser.end': (r, m) => ({ self: parser(r, m), args: [] }),
  encodeConversation: (r, m) => ({ args: [request(r), options(r, m)], isData: true, anyObject: true }),
  parseEncoding: (r) => ({ args: [text(), 'file', { contract: r.pick(['preview', 'official', undefined]) }] }),
  readEncoding: () => ({ args: [DIR, {}], isAsync: true, anyObject: true }),
  readJson: (r) => ({
    args: [r.pick(['{"a": [1, 2.50, null]}', '"x"', 'NaN']), { nan: true, name: 'readJson' }],
    says: [''],
  }),
  tryReadJson: (r) => ({ args: [r.pick(['{"a": 1}', 'no'])], anyObject: true }),
  writeJson: (r) => ({
    args: [r.pick([{ a: [1, 'x', null] }, new Map([['k', 1]])]), { canonical: r.flag() }],
    isData: true,
    anyObject: true,
    mayRefuse: true,
  }),
};
