/** A streaming chat with the shipped model: text is shown as it comes, and every answer says what it cost. */
import { loadModel } from '@megamoe/model';
import { modelDirectory } from '@megamoe/tiny-model';

const model = await loadModel(modelDirectory);
console.log(`${model.config.numHiddenLayers} layers, ${model.config.numExperts} experts, ${model.ops.name} backend`);

for (const content of ['What is the capital of France?', 'What is 7 plus 5?', 'What is the capital of Italy?']) {
  process.stdout.write(`> ${content}\n`);
  let end;
  for await (const chunk of model.generate({ messages: [{ role: 'user', content }], maxTokens: 24 })) {
    process.stdout.write(chunk.text); // whole characters only; held back while it could become a stop text
    end = chunk;
  }
  const { promptTokens = 0, completionTokens = 0 } = end?.usage ?? {};
  process.stdout.write(
    `\n  (${promptTokens} tokens read, ${completionTokens} written, ended by ${end?.finishReason})\n`,
  );
}
