import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { cli, piped, temporaryFolder, TINY } from './support';

const dir = temporaryFolder();
const ENCODER = join(TINY, 'encoding', 'encoding_dsv4.py');
const BOS = '<｜begin▁of▁sentence｜>';

/** A file of the folder, with this text. */
function file(name: string, text: unknown): string {
  const path = join(dir, name);
  writeFileSync(path, typeof text === 'string' ? text : JSON.stringify(text));
  return path;
}

/** A checkpoint's folder with the tokenizer only. */
function folderWithoutEncoder(): string {
  const folder = join(dir, 'without');
  mkdirSync(folder, { recursive: true });
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) copyFileSync(join(TINY, name), join(folder, name));
  return folder;
}

const HI = { messages: [{ role: 'user', content: 'Hi' }] };

it('megamoe prompt --json gives text, ids and what is in force', async () => {
  const { code, out } = await cli('prompt', file('hi.json', { ...HI, thinking: { type: 'disabled' } }), '--json');
  expect(code).toBe(0);
  const answer = JSON.parse(out) as Record<string, unknown>;
  expect(Object.keys(answer)).toEqual(['text', 'tokenIds', 'thinking', 'effort', 'contract']);
  expect(answer).toMatchObject({
    text: `${BOS}<｜User｜>Hi<｜Assistant｜></think>`,
    thinking: false,
    effort: null,
    contract: 'official',
  });
  const ids = answer.tokenIds as number[];
  expect([ids.slice(0, 2), ids.slice(-2)]).toEqual([
    [0, 3],
    [4, 6],
  ]);
});

it("shows the API's default effort, and with null the encoder's", async () => {
  const text = async (request: unknown, ...more: string[]): Promise<[string, unknown]> => {
    const { out } = await cli('prompt', file('effort.json', request), '--json', ...more);
    const answer = JSON.parse(out) as { text: string; effort: unknown };
    return [answer.text, answer.effort];
  };
  const plain = `${BOS}<｜User｜>Hi<｜Assistant｜><think>`;
  const high = `${BOS}Reasoning Effort: high.\nThink step by step.\n\n<｜User｜>Hi<｜Assistant｜><think>`;
  expect(await text(HI)).toEqual([high, 'high']);
  expect(await text({ ...HI, reasoning_effort: null })).toEqual([plain, 'low']);
  expect(await text({ ...HI, thinking_mode: 'thinking', effort: null })).toEqual([plain, 'low']);
  expect(await text(HI, '--contract', 'preview')).toEqual([plain, 'high']);
  // Text H has moved from max to high between the contracts.
  expect(await text({ ...HI, reasoning_effort: 'max' }, '--contract', 'preview')).toEqual([high, 'max']);
});

it('reads standard input, a list of messages, and a byte order mark', async () => {
  const { code, out, err } = await piped('\ufeff[{"role": "user", "content": "Größe 🙂"}]', 'prompt');
  expect(code).toBe(0);
  expect(out).toMatch(/<｜User｜>Größe 🙂<｜Assistant｜><think>\n$/);
  expect(err).toMatch(/^megamoe: \d+ tokens, thinking with effort high, official contract of .*encoding_dsv4\.py\n$/);
});

it('loses nothing of a schema', async () => {
  const request =
    '{"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": ' +
    '{"10": {"maximum": 12345678901234567890}, "2": {"minimum": 1e5}, "__proto__": {"multipleOf": 1.10}}}}}], "messages": [{"role": "user", "content": "x"}]}';
  const { out } = await piped(request, 'prompt');
  expect(out).toContain(
    '{"name": "f", "parameters": {"type": "object", "properties": {"10": {"maximum": 12345678901234567890}, "2": {"minimum": 100000.0}, "__proto__": {"multipleOf": 1.1}}}}',
  );
});

it('takes the wording from --encoder, and without one refuses what needs it', async () => {
  const without = folderWithoutEncoder();
  const tools = [{ type: 'function', function: { name: 'f', parameters: {} } }];
  const request = file('tools.json', { ...HI, tools });
  const refused = await cli('prompt', request, '--model', without);
  expect([refused.code, refused.err]).toEqual([
    1,
    "megamoe: encodeConversation: tools need the wording of the checkpoint's encoding/encoding_dsv4.py, which this checkpoint has not; give an encoder file (megamoe prompt --encoder FILE)\n",
  ]);
  const max = await cli('prompt', file('max.json', { ...HI, reasoning_effort: 'max' }), '--model', without);
  expect([max.code, max.err]).toEqual([1, expect.stringContaining('effort max needs the wording')]);
  const plain = await cli('prompt', file('hi.json', HI), '--model', without, '--json');
  expect(JSON.parse(plain.out)).toMatchObject({ thinking: true, effort: 'low', contract: null });
  const given = await cli('prompt', request, '--model', without, '--encoder', ENCODER);
  expect(given.out).toContain('### Available Tool Schemas\n\n{"name": "f", "parameters": {}}\n');
  expect((await cli('prompt', request, '--encoder', without)).err).toContain('there is no encoding_dsv4.py in');
});

it('says that a format has changed', async () => {
  const changed = readFileSync(ENCODER, 'utf8').replace('"tool_calls"', '" calls"');
  const { code, err } = await cli('prompt', file('hi.json', HI), '--encoder', file('changed.py', changed));
  expect(code).toBe(1);
  expect(err).toContain(
    'tool_calls_block_name is " calls", DeepSeek-V4 has "tool_calls"; the prompt format has changed',
  );
});

it.each<[string, string, number, RegExp]>([
  ['no JSON', '{"messages": [', 1, /prompt: .*bad\.json: not JSON at line 1, column 15: expected a value/],
  ['no request', '5', 1, /must hold a request with "messages", or a list of messages/],
  ['no messages', '{}', 1, /"messages" must be a list of messages, got undefined/],
  ['an unknown role', '[{"role": "narrator"}]', 1, /"messages\[0\]\.role" must be one of system, developer, /],
])('refuses %s', async (_, text, code, message) => {
  const ran = await cli('prompt', file('bad.json', text));
  expect(ran.err).toMatch(message);
  expect(ran.code).toBe(code);
});

it('refuses a missing file, a terminal and an unknown contract', async () => {
  expect((await cli('prompt', join(dir, 'nothing.json'))).code).toBe(1);
  expect(await cli('prompt')).toMatchObject({ code: 2, err: 'megamoe: prompt: name a file, or pipe one in\n' });
  expect((await cli('prompt', file('hi.json', HI), '--contract', 'final')).code).toBe(2);
});

const CALL = `<｜DSML｜tool_calls>
<｜DSML｜invoke name="get_weather">
<｜DSML｜parameter name="days">3</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜tool_calls><｜end▁of▁sentence｜>`;
const TOOLS = [
  { type: 'function', function: { name: 'get_weather', parameters: { properties: { days: { type: 'integer' } } } } },
];

it('megamoe parse --json takes output apart', async () => {
  const output = file('output.txt', `Need weather.</think>Checking.\n\n${CALL}`);
  const parsed = async (...more: string[]): Promise<unknown> =>
    JSON.parse((await cli('parse', output, '--json', ...more)).out) as unknown;
  const call = (args: string) => [{ name: 'get_weather', arguments: args }];
  const whole = { reasoning: 'Need weather.', content: 'Checking.', finish_reason: 'tool_calls', stop_sequence: null };
  expect(await parsed('--stage', 'thinking')).toEqual({ ...whole, tool_calls: call('{"days": "3"}') });
  const tools = file('tools-list.json', TOOLS);
  expect(await parsed('--stage', 'reasoning', '--tools', tools)).toEqual({ ...whole, tool_calls: call('{"days": 3}') });
  const request = file('tools-request.json', { ...HI, tools: TOOLS });
  expect(await parsed('--stage', 'thinking', '--tools', request, '--finish', 'length')).toEqual({
    ...whole,
    tool_calls: call('{"days": 3}'),
  });
  expect(await parsed('--no-tools')).toMatchObject({
    reasoning: null,
    content: expect.stringContaining('Checking.\n\n<｜DSML｜tool_calls>') as string,
    tool_calls: [],
    finish_reason: 'stop',
  });
  expect(await parsed('--stop', 'zzz', '--stop', 'ing')).toEqual({
    reasoning: null,
    content: 'Need weather.Check',
    tool_calls: [],
    finish_reason: 'stop',
    stop_sequence: 'ing',
  });
});

it('parses standard input, JSON, cut-off output, and shows it to people', async () => {
  expect(JSON.parse((await piped('```json\n{"a": 1}\n```\n', 'parse', '--json-object', '--json')).out)).toMatchObject({
    content: '{"a": 1}',
  });
  expect(JSON.parse((await piped('Let me', 'parse', '--finish', 'length', '--json')).out)).toMatchObject({
    content: 'Let me',
    finish_reason: 'length',
  });
  expect((await piped(`a</think>b${CALL}`, 'parse', '--stage', 'thinking')).out).toBe(
    'reasoning:\na\n\ncontent:\nb\n\ncall of get_weather:\n{"days": "3"}\n\nfinish: tool_calls\n',
  );
  expect(JSON.parse((await piped('', 'parse', '--json')).out)).toEqual({
    reasoning: null,
    content: null,
    tool_calls: [],
    finish_reason: 'stop',
    stop_sequence: null,
  });
  expect((await cli('parse', file('x.txt', 'x'), '--stage', 'tools')).code).toBe(2);
  expect((await cli('parse', file('x.txt', 'x'), '--tools', file('t.json', '5'))).err).toContain(
    'must hold a list of tools, or a request with "tools"',
  );
});
