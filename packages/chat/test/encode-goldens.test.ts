import { describe, expect, it } from 'vitest';
import { encodeConversation, readJson, type Contract, type ConversationRequest } from '../src/index';
import { ENCODE_CASES, encodingOf, thrown, tokenizer, worded, type EncodeCase } from './support';

/** Where we depart from the reference on purpose: what we give instead, and why. */
const BOS = '<｜begin▁of▁sentence｜>';
const DEPARTURES: Readonly<Record<string, { readonly why: string; readonly output: string }>> = {
  'merge-later-system-unmarked': {
    why: 'a later system message becomes a user turn: the model has seen that, not bare text after an answer',
    output: `${BOS}one<｜User｜>a<｜Assistant｜></think>b<｜end▁of▁sentence｜><｜User｜>two\n\nc<｜Assistant｜><think>`,
  },
  'merge-two-systems': {
    why: 'system messages at the head are joined by a blank line',
    output: `${BOS}one\n\ntwo<｜User｜>a<｜Assistant｜></think>`,
  },
  'tools-on-second-message-vllm-order': {
    why: 'system messages at the head are one, with the tools after their text',
    output: `${BOS}Real system prompt\n\n{{TOOLS_HEAD}}{"name": "get_weather", "description": "Get the weather for a city", "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}}, "required": ["city"]}}{{TOOLS_TAIL}}<｜User｜>x<｜Assistant｜><think>`,
  },
  'args-object-not-string': {
    why: 'arguments that are an object instead of JSON text are written key by key',
    output: `${BOS}<｜User｜>q<｜Assistant｜></think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="city" string="true">Paris</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜><｜User｜>y<｜Assistant｜></think>`,
  },
};

/** Cases in which content spells markers: their ids are not those of the text with its markers on. */
const SPELLS_MARKERS = /^content-special-tokens|^tools-braces-and-markers|^tools-escapes|^args-markup|^result-markup/;

const contractsOf = ({ contract }: EncodeCase): Contract[] =>
  contract === 'both' ? ['preview', 'official'] : [contract];

function requestOf({ messages_json: text, ...input }: EncodeCase['input']): ConversationRequest {
  const messages = typeof text === 'string' ? readJson(text) : input.messages;
  return { ...input, messages } as unknown as ConversationRequest;
}

const cases = ENCODE_CASES.filter((c) => c.kind === 'encode').flatMap((c) =>
  contractsOf(c).map((contract) => ({ ...c, contract })),
);

describe('every prompt of the goldens', () => {
  it.each(cases)('$id ($contract)', ({ id, contract, input, output, error }) => {
    const encoding = encodingOf(contract);
    const encode = () => encodeConversation(requestOf(input), { encoding, tokenizer });
    if (error) {
      expect(thrown(encode)).toMatch(/^ERR_(KIND|VALUE): encodeConversation: /);
      return;
    }
    const { text, tokenIds, contract: echoed } = encode();
    const wanted = worded(DEPARTURES[id]?.output ?? output!, encoding);
    expect(text).toBe(wanted);
    expect(echoed).toBe(contract);
    if (!SPELLS_MARKERS.test(id)) expect(tokenIds).toEqual(tokenizer.encode(wanted));
    else expect(tokenizer.decode(tokenIds)).toBe(wanted);
  });

  it('departs from the reference in these cases only, and really', () => {
    for (const [id, { output }] of Object.entries(DEPARTURES)) {
      expect(cases.find((c) => c.id === id)?.output, id).not.toBe(output);
    }
  });
});
