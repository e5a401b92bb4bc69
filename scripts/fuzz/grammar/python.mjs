/** encoding_dsv4.py: the constants of DeepSeek-V4 spelled in all the ways that Python has for a text, between other statements. */

const TASKS = ['action', 'query', 'authority', 'domain', 'title', 'read_url'];
const TOOLS = 'Tools <{dsml_token}tool_calls> {thinking_start_token}{thinking_end_token}\n{{x}} {tool_schemas}\n';
const CONSTANTS = {
  bos_token: '<｜begin▁of▁sentence｜>',
  eos_token: '<｜end▁of▁sentence｜>',
  thinking_start_token: '<think>',
  thinking_end_token: '</think>',
  dsml_token: '｜DSML｜',
  USER_SP_TOKEN: '<｜User｜>',
  system_msg_template: '{content}',
  thinking_template: '{reasoning_content}',
  tool_output_template: '<tool_result>{content}</tool_result>',
  tool_calls_block_name: 'tool_calls',
  response_format_template: '## Format\n{schema}',
  TOOLS_TEMPLATE: TOOLS,
  DS_TASK_SP_TOKENS: Object.fromEntries(TASKS.map((task) => [task, `<｜${task}｜>`])),
};
const PROMPTS = { low: '', high: 'Reasoning: high.\n', max: 'Reasoning: "max".\n' };

const ESCAPES = { '\n': '\\n', '\\': '\\\\', "'": "\\'", '"': '\\"', '\t': '\\t' };

/** One literal of a text. */
function literal(text, r) {
  const quote = r.pick(['"', "'", '"""', "'''"]);
  const body = [...text].map((c) => {
    if (c === '\n' && quote.length === 3 && r.below(2) === 0) return c;
    if (c === '\\' || c === '\n' || quote.includes(c)) return ESCAPES[c];
    if (r.below(30) > 0) return c;
    const code = c.codePointAt(0);
    if (code < 256)
      return r.pick([`\\x${code.toString(16).padStart(2, '0')}`, `\\${code.toString(8).padStart(3, '0')}`]);
    return code < 65536 ? `\\u${code.toString(16).padStart(4, '0')}` : `\\U${code.toString(16).padStart(8, '0')}`;
  });
  const prefix =
    text.includes('\\') || body.join('').includes('\\') ? r.pick(['', '', 'u']) : r.pick(['', '', 'r', 'u', 'R']);
  return `${prefix}${quote}${body.join('')}${quote}`;
}

/** A text as one literal or several beside each other. */
function textOf(text, r) {
  if (r.below(2) === 0 || text.length < 2) return literal(text, r);
  const at = r.below(text.length);
  const pieces = [text.slice(0, at), text.slice(at)].map((part) => literal(part, r));
  return `(${pieces.join(r.pick([' ', '\n    ', '  # why\n', ' \\\n']))}${r.pick(['', '\n'])})`;
}

function valueOf(value, r) {
  if (typeof value === 'string') return textOf(value, r);
  const pairs = Object.entries(value).map(([k, v]) => `${literal(k, r)}${r.pick([':', ' : ', ': '])}${valueOf(v, r)}`);
  return `{${pairs.join(r.pick([', ', ',\n    ', ', # c\n']))}${r.pick(['', ',', ',\n'])}}`;
}

const BETWEEN = [
  '', '\n', '# a comment: "', 'import json', 'from typing import Any, Dict', 'X = 1 + 2', 'Y = f"{X}"', "Z = ['a', 'b']",
  'def f(a, b="}"):\n    """doc\n    """\n    return {"a": [1, 2]}', 'class A:\n    x = "y"\n', 'if True:\n    bos_token = "x"\n',
  'W = "a" + "b"', 'V = b"bytes"', 'a, b = "c", "d"', 'a = b = "c"', 'LONG = (\n  1,\n)', 'x: int', 'T: str = "t"', '@d\ndef g(): pass', 'S = "a" "b" \\\n  "c"', 'D = {"a": {"b": {"c": ""}}}', 'E = "\\N{BULLET}"', 'pass; Q = "q"',
]; // prettier-ignore

const FAULTS = [
  (c, r) => Reflect.deleteProperty(c, r.pick(Object.keys(c))),
  (c, r) => (c[r.pick(Object.keys(c))] = r.pick(['', 'x', '{', '{a', '{}', '{{}}', '{content', { a: 'b' }])),
  (c) => (c.TOOLS_TEMPLATE = TOOLS.replace('{tool_schemas}', '{other}')),
  (c) => (c.REASONING_EFFORT_MAPPINGS = { a: 'b' }),
  (c, r) => Reflect.deleteProperty(c.DS_TASK_SP_TOKENS, r.pick(TASKS)),
];

/** Text that ends in the middle of something, or has too much of it. */
const DAMAGE = [
  (text, r) => text.slice(0, r.below(text.length)),
  (text, r) => text.replace(r.pick(['"', "'", '"""', '}', ')', ':', '=']), ''),
  (text, r) => `${text}\nZZ = ${r.pick(['(', '{"a": ', '[', '"', "'''", '"\\', '{"a":{"b":'])}`,
  (text, r) => `Y = ${r.pick(['(', '{"a":', '['])}`.repeat(1 + r.below(200)) + text,
  (text) => text.replaceAll('\n', '\r\n'),
  (text) => `\ufeff${text}`,
];

/** A module; in half of them something is wrong. */
export function makePython(r) {
  const constants = JSON.parse(JSON.stringify(CONSTANTS));
  if (r.below(2) === 0)
    Object.assign(constants, { REASONING_EFFORT_PROMPTS: { ...PROMPTS }, DEFAULT_REASONING_EFFORT: 'low' });
  else constants.REASONING_EFFORT_MAX = PROMPTS.max;
  const wrong = r.below(4);
  if (wrong === 1) r.pick(FAULTS)(constants, r);
  const lines = Object.entries(constants).map(
    ([name, value]) => `${name}${r.pick(['', ': str', ' '])} = ${valueOf(value, r)}${r.pick(['', '  # what', ' '])}`,
  );
  const all = lines.flatMap((line) => (r.below(3) === 0 ? [r.pick(BETWEEN), line] : [line]));
  const text = `${all.join('\n')}\n`;
  return Buffer.from(wrong === 2 ? r.pick(DAMAGE)(text, r) : text);
}
