export { createServer } from './server';
export type { MegamoeServer, ServerAddress } from './server';
export type { ServerOptions } from './options';
export type { ServedModel } from './served';
export type { ServerStatus } from './engine-host';
export { jsonLogger } from './log';
export type { LogFields, Logger, LogLevel } from './log';
