import { describe, expect, it } from 'vitest';
import {
  AnswerMemory,
  CHAT_TOKENS,
  encodeConversation,
  type ConversationRequest,
  type Message,
  type VisibleAnswer,
} from '../src/index';
import { encodingOf, thrown, tokenizer } from './support';

const encoding = encodingOf();
const tools = [{ type: 'function', function: { name: 'get_weather' } }] as const;
const [eos, endThink] = [CHAT_TOKENS.eos, CHAT_TOKENS.endThink].map((t) => tokenizer.specialIds.get(t)!);
/** Ids that no tokenizer gives for this text: letter by letter, as sampling may. */
const sampled = (text: string): number[] => [...text].flatMap((c) => tokenizer.encode(c, { parseSpecial: false }));
const D = tokenizer.specialIds.get('｜DSML｜')!;

const CALL = [
  ...sampled('\n\n<'),
  D,
  ...sampled('tool_calls>\n<'),
  D,
  ...sampled('invoke name="get_weather">\n<'),
  D,
  ...sampled('parameter name="city" string="true">Paris</'),
  D,
  ...sampled('parameter>\n</'),
  D,
  ...sampled('invoke>\n</'),
  D,
  ...sampled('tool_calls>'),
];
const ARGS = '{"city": "Paris"}';
const call = (args: string, id = 'call_1') => ({ id, function: { name: 'get_weather', arguments: args } });

const user = (content: string): Message => ({ role: 'user', content });

/** A turn: what was sampled, remembered; gives what the client then sends. */
function turn(
  memory: AnswerMemory,
  request: ConversationRequest,
  ids: readonly number[],
  answer: VisibleAnswer,
  scope?: string,
) {
  const prompt = encodeConversation(request, { encoding, tokenizer, memory, scope });
  const at = prompt.answerStart!;
  memory.remember({ before: prompt.tokenIds.slice(0, at), ids: [...prompt.tokenIds.slice(at), ...ids], answer, scope });
  return { prompt, whole: [...prompt.tokenIds, ...ids] };
}

const common = (a: readonly number[], b: readonly number[]): number => {
  let n = 0;
  while (n < a.length && a[n] === b[n]) n++;
  return n;
};

describe('AnswerMemory', () => {
  const reasoning = 'I need the weather.';
  const first: ConversationRequest = { messages: [user('Paris?')], tools };
  const ids = [...sampled(reasoning), endThink!, ...sampled('Let me look. '), ...CALL, eos!];
  const answer: VisibleAnswer = {
    reasoning,
    content: 'Let me look. ',
    toolCalls: [{ id: 'call_1', name: 'get_weather', arguments: ARGS }],
  };
  const next = (message: Partial<Message>): ConversationRequest => ({
    tools,
    messages: [
      user('Paris?'),
      { role: 'assistant', ...message },
      { role: 'tool', tool_call_id: 'call_1', content: '20 C' },
    ],
  });

  it('gives the sampled ids back, so that the whole answer is a prefix of the next prompt', () => {
    const memory = new AnswerMemory();
    const { whole } = turn(memory, first, ids, answer);
    const rendered = encodeConversation(next({ content: 'Let me look. ', reasoning, tool_calls: [call(ARGS)] }), {
      encoding,
      tokenizer,
    });
    expect(common(rendered.tokenIds, whole)).toBeLessThan(whole.length); // rendered anew it is lost
    for (const sent of [
      { content: 'Let me look. ', reasoning, tool_calls: [call(ARGS)] },
      { content: 'Let me look.', tool_calls: [call('{"city":"Par\\u0069s"}')] }, // trimmed, without reasoning, escaped anew
      { content: null, tool_calls: [call(ARGS)] }, // found by the ids of its calls
      { content: 'Let me look.', reasoning_content: ` ${reasoning}\n`, tool_calls: [call(ARGS, 'other_id')] },
      {
        content: 'Let me look.',
        tool_calls: [{ id: 'x', function: { name: 'get_weather', arguments: { city: 'Paris' } } }],
      },
    ]) {
      const found = encodeConversation(next(sent), { encoding, tokenizer, memory });
      expect(found.recalled).toBe(1);
      expect(common(found.tokenIds, whole)).toBe(whole.length);
    }
  });

  it('does not find an answer that was edited, or another conversation, or another scope', () => {
    const memory = new AnswerMemory();
    turn(memory, first, ids, answer, 'me');
    const recalled = (request: ConversationRequest, scope?: string): number =>
      encodeConversation(request, { encoding, tokenizer, memory, scope }).recalled;
    const sent = { content: 'Let me look.', reasoning, tool_calls: [call(ARGS)] };
    expect(recalled(next(sent), 'me')).toBe(1);
    expect(recalled(next(sent), 'you')).toBe(0);
    expect(recalled(next(sent))).toBe(0);
    expect(recalled(next({ ...sent, content: 'Let me see.' }), 'me')).toBe(0);
    expect(recalled(next({ ...sent, tool_calls: [call('{"city": "Oslo"}')] }), 'me')).toBe(0);
    expect(recalled(next({ content: null, tool_calls: [call('{"city": "Oslo"}')] }), 'me')).toBe(0);
    expect(recalled(next({ content: null, tool_calls: [call(ARGS, 'other_id')] }), 'me')).toBe(0);
    expect(recalled({ ...next(sent), messages: [user('Rome?'), ...next(sent).messages.slice(1)] }, 'me')).toBe(0);
  });

  it("leaves reasoning out where the prompt has none, and renders reasoning that is not the model's own", () => {
    const memory = new AnswerMemory();
    const plain: ConversationRequest = { messages: [user('a')] };
    const said = [...sampled('r'), endThink!, ...sampled('Hello there'), eos!];
    turn(memory, plain, said, { reasoning: 'r', content: 'Hello there' });
    const then = (message: Partial<Message>, more: Partial<ConversationRequest> = {}) =>
      encodeConversation(
        { messages: [user('a'), { role: 'assistant', content: 'Hello there', ...message }, user('b')], ...more },
        { encoding, tokenizer, memory },
      );
    const answered = sampled('Hello there');
    const dropped = then({ reasoning: 'r' });
    expect(dropped.recalled).toBe(1);
    expect(dropped.text).toContain('</think>Hello there');
    const at = dropped.tokenIds.indexOf(endThink!) + 1;
    expect(dropped.tokenIds.slice(at, at + answered.length + 1)).toEqual([...answered, eos]);
    const other = then({ reasoning: 'else' }, { drop_thinking: false });
    expect(other.recalled).toBe(1);
    expect(tokenizer.decode(other.tokenIds)).toContain('<think>else</think>Hello there');
    const kept = then({}, { drop_thinking: false });
    expect(tokenizer.decode(kept.tokenIds)).toContain('<think>r</think>Hello there');
  });

  it('ends what was sampled without an end, and leaves alone a call within reasoning that is dropped', () => {
    const memory = new AnswerMemory();
    turn(memory, { messages: [user('a')], thinking: false }, sampled('yes'), { content: 'yes' });
    const more: ConversationRequest = {
      messages: [user('a'), { role: 'assistant', content: 'yes' }, user('b')],
      thinking: false,
    };
    const found = encodeConversation(more, { encoding, tokenizer, memory });
    expect(found).toMatchObject({ recalled: 1 });
    expect(tokenizer.decode(found.tokenIds)).toBe(found.text);
    const within = new AnswerMemory();
    turn(within, first, [...sampled('r'), ...CALL, eos!], { reasoning: 'r', toolCalls: answer.toolCalls! });
    const sent = next({ content: '', tool_calls: [call(ARGS)] });
    expect(encodeConversation(sent, { encoding, tokenizer, memory: within }).recalled).toBe(1);
    expect(
      encodeConversation({ ...sent, tools: [], tool_choice: 'none' }, { encoding, tokenizer, memory: within }).recalled,
    ).toBe(0);
  });

  it('is bounded: the least recently used go first', () => {
    const memory = new AnswerMemory({ maxAnswers: 3, maxTokens: 100 });
    const remember = (n: number, length = 10): void =>
      memory.remember({
        before: [n],
        ids: new Array<number>(length).fill(n),
        answer: { content: `${n}`, toolCalls: [{ id: `${n}`, name: 'f', arguments: '{}' }] },
      });
    const knows = (n: number): boolean =>
      memory.recall([n], { content: `${n}`, toolCalls: [{ id: `${n}`, name: 'f', arguments: '{}' }] }) !== undefined;
    for (const n of [1, 2, 3]) remember(n);
    expect(knows(1)).toBe(true); // used just now
    remember(4);
    expect([memory.size, memory.tokens, knows(1), knows(2), knows(3), knows(4)]).toEqual([
      3,
      30,
      true,
      false,
      true,
      true,
    ]);
    remember(5, 75);
    expect([memory.size, memory.tokens, knows(5)]).toEqual([3, 95, true]);
    remember(6, 101); // larger than all of it: not kept, and nothing goes for it
    expect([memory.size, knows(6)]).toEqual([3, false]);
    remember(5, 20);
    expect([memory.size, memory.tokens]).toEqual([3, 40]);
    memory.clear();
    expect([memory.size, memory.tokens, knows(5)]).toEqual([0, 0, false]);
    new AnswerMemory({ maxAnswers: 0 }).remember({ before: [], ids: [1], answer: {} });
    expect(thrown(() => new AnswerMemory({ maxTokens: -1 }))).toBe(
      'ERR_VALUE: AnswerMemory: "maxTokens" must be an integer at least 0, got -1',
    );
  });

  it('holds names of prototypes and odd arguments', () => {
    const memory = new AnswerMemory();
    for (const args of ['{"__proto__": 1}', '', '{"a"', '[1]', { toString: 1 }]) {
      const toolCalls = [{ id: '__proto__', name: 'constructor', arguments: args }];
      memory.remember({ before: [1], ids: [2], answer: { toolCalls } });
      expect([...memory.recall([1], { toolCalls })!.ids]).toEqual([2]);
    }
    expect(memory.size).toBe(5);
  });
});
