/** Absolute path of this folder: a checkpoint that `loadModel` of `@megamoe/model` reads. */
export declare const modelDirectory: string;
