/** Samples under constraints: allowed tokens, banned words, a length to reach, a stop text; a seed repeats it, whatever the batch. */
import { processLogits, Sampler, StopChecker } from '@megamoe/sampler';

const vocabulary = ['The', ' cat', ' dog', ' sat', ' ran', ' down', '.', ' END'];
const vocabSize = vocabulary.length;
/** A model of our own: after a noun comes a verb, and so on; it would like to stop early. @param {number} last */
const logitsAfter = (last) => {
  const logits = new Float32Array(vocabSize).fill(-9);
  const next = [
    [1, 2],
    [3, 4],
    [3, 4],
    [5, 6],
    [5, 6],
    [6, 7],
    [7, 0],
  ][last] ?? [7];
  next.forEach((id, i) => (logits[id] = 3 - i));
  logits[7] = 1.5;
  return logits;
};

/** @param {string} what @param {import('@megamoe/sampler').SamplingParams} params */
function run(what, params) {
  const sampler = new Sampler({ vocabSize, promptIds: [0], params: { temperature: 1, ...params } });
  const stopper = new StopChecker({ stopIds: [7], stopStrings: ['.'], includeStop: true });
  let text = 'The';
  for (let last = 0, steps = 0; steps < 12; steps++) {
    const { tokenId } = sampler.sample(logitsAfter(last));
    sampler.accept(tokenId);
    const shown = stopper.push(tokenId, vocabulary[tokenId] ?? '');
    text += shown.text;
    last = tokenId;
    if (shown.stop !== undefined) break;
  }
  console.log(`${what.padEnd(34)}${JSON.stringify(text)}`);
}

run('greedy', { temperature: 0 });
run('seed 4', { seed: 4 });
run('seed 4 again', { seed: 4 });
run('seed 5', { seed: 5 });
run('never " END"', { seed: 4, badWords: [[7]] });
run('only what has no cat', { seed: 4, allowedTokenIds: [0, 2, 3, 4, 5, 6] });
run('a bias towards " ran"', { temperature: 0, logitBias: new Map([[4, 2]]) });

// What a token is drawn from, as numbers: each step of the pipeline can be looked at.
const drawnFrom = processLogits(logitsAfter(1), {
  params: { temperature: 0.5, topK: 2 },
  promptIds: [0],
  outputIds: [1],
});
const kept = [...drawnFrom].flatMap((logit, id) =>
  logit === -Infinity ? [] : [`${vocabulary[id]} ${logit.toFixed(1)}`],
);
console.log(`after " cat", temperature 0.5 and top-k 2 leave:${kept.join(',')}`);
