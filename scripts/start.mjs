/** `npm start [-- "PROMPT" ...]`: sets up what is missing, then completes the prompt with the shipped model. */
import { runBuilt } from './lib/built.mjs';
import { ensureBuilt, ensureInstalled } from './lib/setup.mjs';

ensureInstalled();
ensureBuilt();
await runBuilt(['generate', ...process.argv.slice(2)]);
