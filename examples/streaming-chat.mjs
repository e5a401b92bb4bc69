/** A streaming conversation with the shipped model: text is shown as it comes, and every answer says what it cost. */
import { loadModel } from '@megamoe/model';
import { modelDirectory } from '@megamoe/tiny-model';

const model = await loadModel(modelDirectory);
console.log(
  `${model.config.numHiddenLayers} layers, ${model.config.numExperts} experts, ${model.backend.name} backend`,
);

/** @type {{ role: 'user' | 'assistant', content: string }[]} */
const messages = [];
for (const content of ['My name is Grace.', 'What is the capital of Peru?', 'What is my name?']) {
  process.stdout.write(`> ${content}\n`);
  messages.push({ role: 'user', content });
  let answer = '';
  let end;
  for await (const chunk of model.generate({ messages, maxTokens: 24 })) {
    process.stdout.write(chunk.text); // whole characters only; held back while it could become a stop text
    answer += chunk.text;
    end = chunk;
  }
  messages.push({ role: 'assistant', content: answer });
  const { promptTokens = 0, completionTokens = 0 } = end?.usage ?? {};
  process.stdout.write(
    `\n  (${promptTokens} tokens read, ${completionTokens} written, ended by ${end?.finishReason})\n`,
  );
}
