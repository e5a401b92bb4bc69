/** `npm start [-- "PROMPT" ...]`: sets up what is missing, then completes the prompt with the shipped model. */
import { runBuilt } from './lib/built.mjs';
import { ensureBuilt, ensureInstalled } from './lib/setup.mjs';

ensureInstalled();
ensureBuilt({ types: false });
const given = process.argv.slice(2);
// Named, for without a prompt the command reads what is piped in: an open pipe of whoever runs this would never end.
await runBuilt(['generate', ...(given.length === 0 ? ['The capital of France is'] : given)]);
