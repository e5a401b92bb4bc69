#!/usr/bin/env node
import { startWorker } from './start-worker';

const argv = process.argv.slice(2);
const started = startWorker(argv); // first: its thread comes up while this one loads the rest
process.exitCode =
  started === undefined
    ? await (await import('./cli')).runCommand(argv)
    : await (await import('./supervise')).supervise(started);
