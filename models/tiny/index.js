import { fileURLToPath } from 'node:url';

/** Absolute path of this folder: a checkpoint that `loadModel` of `@megamoe/model` reads. */
export const modelDirectory = fileURLToPath(new URL('.', import.meta.url));
