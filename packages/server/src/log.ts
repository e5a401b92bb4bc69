import { checkFunction } from '@megamoe/core';

/** How much an event matters. */
export type LogLevel = 'info' | 'warn' | 'error';

/** One event: fields beside `time`, `level` and `event`. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Takes events; the server gives it no text of messages unless it is told to. */
export type Logger = (level: LogLevel, event: string, fields?: LogFields) => void;

/** A logger that writes one line of JSON an event. */
export function jsonLogger(write: (line: string) => void): Logger {
  checkFunction('jsonLogger', 'write', write);
  return (level, event, fields = {}) => {
    write(`${JSON.stringify({ time: new Date().toISOString(), level, event, ...fields })}\n`);
  };
}
