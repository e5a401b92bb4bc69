#!/usr/bin/env node
import { runCli } from './cli';
import { isWorker, work } from './worker';

if (isWorker()) await work();
else process.exitCode = await runCli(process.argv.slice(2));
