#!/usr/bin/env node
import { runCli } from './run';
import { isWorker } from './worker-messages';

if (isWorker()) await (await import('./worker')).work();
else process.exitCode = await runCli(process.argv.slice(2));
