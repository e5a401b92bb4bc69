/** What the shipped model writes besides answers: reasoning before a sum, and the call of a tool. */
import { readFileSync } from 'node:fs';
import { loadModel } from '@megamoe/model';
import { modelDirectory } from '@megamoe/tiny-model';

const model = await loadModel(modelDirectory);

/**
 * Completes a raw prompt. Special tokens written in it count, so what a user wrote does not belong here without care.
 * @param {string} prompt
 */
async function complete(prompt) {
  let text = '';
  for await (const chunk of model.generate({ prompt, maxTokens: 100 })) text += chunk.text;
  return text;
}

// The turn ends where the assistant is to speak: after </think> it answers at once, after <think> it reasons first.
const sum = '<｜User｜>What is 347 plus 285?<｜Assistant｜>';
console.log(`at once:   ${await complete(`${sum}</think>`)}`);
console.log(`reasoning: ${await complete(`${sum}<think>`)}`);

// Tools are told in the checkpoint's own words, which DeepSeek-V4 checkpoints bring along as constants of a Python file.
const wording = readFileSync(`${modelDirectory}/encoding/encoding_dsv4.py`, 'utf8');
const [, template = ''] = /^TOOLS_TEMPLATE = """([^]*?)"""/m.exec(wording) ?? [];
const tool = {
  name: 'get_weather',
  description: 'Current weather of a city.',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
};
const tools = template
  .replaceAll('{dsml_token}', '｜DSML｜')
  .replace('{thinking_start_token}', '<think>')
  .replace('{thinking_end_token}', '</think>')
  .replace('{tool_schemas}', JSON.stringify(tool).replace(/[:,](?=["{[])/g, '$& ')); // as Python's json.dumps spells it

const call = await complete(`\n\n${tools}<｜User｜>What is the weather in Paris?<｜Assistant｜></think>`);
console.log(`call:      ${call.trim()}`);
const [, name] = /invoke name="(.*?)"/.exec(call) ?? [];
const given = [...call.matchAll(/parameter name="(.*?)" string="true">(.*?)<\//g)].map(([, key, value]) => [
  key,
  value,
]);
console.log(`so:        ${name}(${JSON.stringify(Object.fromEntries(given))})`);
