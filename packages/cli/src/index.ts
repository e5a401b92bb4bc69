export { runCli } from './run';
export type { CliIo } from './io';
