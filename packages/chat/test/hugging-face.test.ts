import { readFileSync } from 'node:fs';
import { repositoryFile } from '@megamoe/testkit';
import { expect, it } from 'vitest';
import { encodeConversation, type ConversationRequest, type Message, type Tool } from '../src/index';
import { encodingOf, tokenizer } from './support';

/** Rendered prompts that Hugging Face's tokenizer encoded: see prompts.provenance.json there. */
const PROMPTS = JSON.parse(
  readFileSync(repositoryFile('packages/checkpoint/test/goldens/prompts.json'), 'utf8'),
) as readonly { readonly id: string; readonly text: string; readonly inputIds: readonly number[] }[];

const user = (content: string): Message => ({ role: 'user', content });
const tool = (name: string, description: string, properties: object, required: string[]): Tool => ({
  type: 'function',
  function: { name, description, parameters: { type: 'object', properties, required } },
});
const text = { type: 'string' };
const tools = [
  tool('get_weather', 'Current weather of a city.', { city: text, unit: text }, ['city']),
  tool('set_light', 'Switch a light.', { room: text, on: { type: 'boolean' } }, ['room', 'on']),
];
const system: Message = { role: 'system', content: 'You are a helpful assistant.' };
const weather = user('What is the weather in Paris?');

/** The conversations of those prompts. */
const REQUESTS: Readonly<Record<string, ConversationRequest>> = {
  'chat-japan': { messages: [user('What is the capital of Japan?')], thinking: false },
  'chat-plus': { messages: [user('What is 7 plus 5?')], thinking: false },
  'think-sum': { messages: [user('What is 347 plus 285?')], reasoning_effort: 'low' },
  'effort-max': { messages: [user('What is 26 plus 38?')], reasoning_effort: 'max' },
  'tool-call': { messages: [system, weather], tools, thinking: false },
  'tool-result': {
    messages: [
      system,
      weather,
      {
        role: 'assistant',
        tool_calls: [{ id: 'c', function: { name: 'get_weather', arguments: '{"city":"Paris"}' } }],
      },
      { role: 'tool', tool_call_id: 'c', content: '{"temperature": 21, "condition": "sunny"}' },
    ],
    tools,
    thinking: false,
  },
  json: {
    messages: [user('Give me France and its capital.')],
    response_format: {
      type: 'json_schema',
      schema: { type: 'object', properties: { country: text, capital: text }, required: ['country', 'capital'] },
    },
    thinking: false,
  },
  turns: {
    messages: [
      user('My name is Grace.'),
      { role: 'assistant', content: 'Hello Grace, nice to meet you.' },
      user('What is the capital of Peru?'),
      { role: 'assistant', content: 'The capital of Peru is Lima.' },
      user('What is my name?'),
    ],
    thinking: false,
  },
};

it.each(PROMPTS.filter(({ id }) => Object.hasOwn(REQUESTS, id)))("$id gives Hugging Face's ids", (golden) => {
  const { text: rendered, tokenIds } = encodeConversation(REQUESTS[golden.id]!, { encoding: encodingOf(), tokenizer });
  expect(rendered).toBe(golden.text);
  expect(tokenIds).toEqual(golden.inputIds);
});

it('every conversation among those prompts is here', () => {
  expect(PROMPTS.filter((p) => p.text.includes('<｜User｜>')).map((p) => p.id)).toEqual(Object.keys(REQUESTS));
});
