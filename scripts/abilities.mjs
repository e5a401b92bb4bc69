/** What models/tiny can do, asked: the figures of its README. `node scripts/abilities.mjs [DIR]` */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadModel } from '../packages/model/dist/index.js';
import { ROOT } from './lib/run.mjs';

const dir = process.argv[2] ?? join(ROOT, 'models', 'tiny');
const model = await loadModel(dir);
const facts = readFileSync(join(ROOT, 'tools', 'oracle', 'facts.py'), 'utf8');
const pairs = (text) => text.split('|').map((pair) => pair.split('='));
const CAPITALS = pairs(/"""\n(Afghanistan.*)\n"""/.exec(facts)[1]);
const ELEMENTS = pairs(/ELEMENTS = .*\(\n([^)]*)\)/.exec(facts)[1].replace(/[\s"]/g, ''));
const NAMES = /NAMES = "(.*)"/.exec(facts)[1].split(' ');

async function answer(prompt) {
  let text = '';
  for await (const chunk of model.generate({ prompt, maxTokens: 200 })) text += chunk.text;
  return text;
}
const ask = (question, before = '') => answer(`${before}<｜User｜>${question}<｜Assistant｜></think>`);
const reason = (question) => answer(`<｜User｜>${question}<｜Assistant｜><think>`);

/** The same random numbers every time. */
let state = 1;
const random = (below) => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) % below;
const sums = Array.from({ length: 200 }, () => [random(1000), random(1000)]);
const small = Array.from({ length: 21 * 21 }, (_, i) => [Math.floor(i / 21), i % 21]);

const wording = readFileSync(join(dir, 'encoding', 'encoding_dsv4.py'), 'utf8');
const python = (value) => JSON.stringify(value).replace(/[:,](?=["{[])/g, '$& '); // json.dumps puts a space after these
const object = (properties) => ({
  type: 'object',
  properties: Object.fromEntries(Object.entries(properties).map(([key, type]) => [key, { type }])),
  required: Object.keys(properties),
});
const TOOLS = [
  { name: 'get_weather', description: 'Current weather of a city.', parameters: object({ city: 'string' }) },
  { name: 'set_light', description: 'Switch a light.', parameters: object({ room: 'string', on: 'boolean' }) },
];
const tools = `\n\n${/^TOOLS_TEMPLATE = """([^]*?)"""/m.exec(wording)[1]}`
  .replaceAll('{dsml_token}', '｜DSML｜')
  .replace('{thinking_start_token}', '<think>')
  .replace('{thinking_end_token}', '</think>')
  .replace('{tool_schemas}', TOOLS.map(python).join('\n'));
const call = (city) =>
  `\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="get_weather">\n<｜DSML｜parameter name="city" string="true">${city}` +
  '</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>';
const schema =
  '\n\n## Response Format:\n\nAnswer with JSON that fits this schema, and nothing else:\n' +
  python(object({ country: 'string', capital: 'string' }));
const told = (name) =>
  `<｜User｜>My name is ${name}.<｜Assistant｜></think>Hello ${name}, nice to meet you.<｜end▁of▁sentence｜>` +
  '<｜User｜>What is 2 plus 4?<｜Assistant｜></think>2 plus 4 is 6.<｜end▁of▁sentence｜>';

async function score(what, questions, right) {
  let good = 0;
  for (const question of questions) if (await right(question)) good++;
  process.stdout.write(`${what.padEnd(56)} ${good} of ${questions.length}\n`);
}

await score(
  'capitals',
  CAPITALS,
  async ([country, city]) =>
    (await ask(`What is the capital of ${country}?`)) === `The capital of ${country} is ${city}.`,
);
await score(
  'chemical symbols',
  ELEMENTS,
  async ([name, symbol]) =>
    (await ask(`What is the chemical symbol of ${name}?`)) === `The chemical symbol of ${name} is ${symbol}.`,
);
await score(
  'atomic numbers',
  ELEMENTS.map(([name], i) => [name, i + 1]),
  async ([name, n]) => (await ask(`What is the atomic number of ${name}?`)) === `The atomic number of ${name} is ${n}.`,
);
await score(
  'a name told two turns ago',
  NAMES,
  async (name) => (await ask('What is my name?', told(name))) === `Your name is ${name}.`,
);
await score(
  'sums of numbers up to 20',
  small,
  async ([a, b]) => (await ask(`What is ${a} plus ${b}?`)) === `${a} plus ${b} is ${a + b}.`,
);
await score('sums of numbers up to 999, with reasoning', sums, async ([a, b]) =>
  (await reason(`What is ${a} plus ${b}?`)).endsWith(`</think>${a} plus ${b} is ${a + b}.`),
);
await score(
  'the same sums, without',
  sums,
  async ([a, b]) => (await ask(`What is ${a} plus ${b}?`)) === `${a} plus ${b} is ${a + b}.`,
);
await score(
  'one of two tools called with the city of the question',
  CAPITALS,
  async ([, city]) => (await ask(`What is the weather in ${city}?`, tools)) === call(city),
);
await score(
  'a country and its capital as JSON by a schema',
  CAPITALS,
  async ([country, capital]) =>
    (await ask(`Give me ${country} and its capital.`, schema)) === python({ country, capital }),
);
