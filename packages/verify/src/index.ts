export { verifyBackend } from './verify-backend';
export type { VerifyOptions, VerifyResult } from './verify-backend';
export type { Coverage } from './coverage';
export type { Finding, OpAt, OpSummary, StepAt, WorstElement } from './types';
export type { Metric } from './bounds';
export { shareOf } from './measure';
export { errorText, findingText, short, verdictText } from './text';
