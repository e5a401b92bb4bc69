import {
  checkFunction,
  checkInteger,
  checkObject,
  checkString,
  KindError,
  takeStrings,
  ValueError,
} from '@megamoe/core';
import { isLoopback } from './http/guard';
import type { Logger } from './log';
import type { ServedModel } from './served';

/** How a server is made. */
export interface ServerOptions {
  /** Loads what is served; called once, when the server starts. */
  readonly open: () => Promise<ServedModel>;
  /** Address to listen on. Default `127.0.0.1`: this machine alone. */
  readonly host?: string | undefined;
  /** Port to listen on; 0 takes a free one. Default 8080. */
  readonly port?: number | undefined;
  /** Keys of which a request must bring one; none: no key is needed. */
  readonly apiKeys?: readonly string[] | undefined;
  /** Listen on an address that others reach, without a key. Default false: refused. */
  readonly allowPublic?: boolean | undefined;
  /** Further names by which the server is reached, for the check of `Host`: a proxy's, as in `models.example.com`. */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Origins of pages that may use the server, as in `https://chat.example.com`; `*` for all. Default none. */
  readonly cors?: readonly string[] | undefined;
  /** Whether the model thinks when a request does not say. Default true. */
  readonly thinking?: boolean | undefined;
  /** Most bytes of a body. Default 16 MiB. */
  readonly maxBodyBytes?: number | undefined;
  /** Most connections at a time. Default 1024. */
  readonly maxConnections?: number | undefined;
  /** Most milliseconds for a request's headers to come. Default 10,000. */
  readonly headersTimeoutMs?: number | undefined;
  /** Most milliseconds for a whole request to come. Default 60,000. */
  readonly requestTimeoutMs?: number | undefined;
  /** Milliseconds between comments that keep a stream open. Default 5,000. */
  readonly keepAliveMs?: number | undefined;
  /** Most bytes of a stream that wait for a client who does not read. Default 1 MiB. */
  readonly maxUnsentBytes?: number | undefined;
  /** Most milliseconds that they wait without any being taken. Default 60,000. */
  readonly stallMs?: number | undefined;
  /** Takes events. Default: nobody. */
  readonly log?: Logger | undefined;
  /** Log the text of messages and answers too. Default false. */
  readonly logContent?: boolean | undefined;
}

/** {@link ServerOptions} with the defaults in place. */
export type ServerSettings = { readonly [K in keyof Required<ServerOptions>]-?: Exclude<ServerOptions[K], undefined> };

const DAY_MS = 86_400_000;

/** @throws KindError, ValueError for options that cannot be; ValueError for a public address without a key */
export function resolveOptions(o: ServerOptions): ServerSettings {
  const fn = 'createServer';
  checkObject(fn, 'options', o);
  const { open } = o;
  if (typeof open !== 'function') throw new KindError(`${fn}: "open" must be a function that loads the model`);
  const settings: ServerSettings = {
    open,
    host: o.host ?? '127.0.0.1',
    port: o.port ?? 8080,
    apiKeys: takeStrings(fn, 'apiKeys', o.apiKeys ?? []),
    allowPublic: o.allowPublic ?? false,
    allowedHosts: takeStrings(fn, 'allowedHosts', o.allowedHosts ?? []),
    cors: takeStrings(fn, 'cors', o.cors ?? []),
    thinking: o.thinking ?? true,
    maxBodyBytes: o.maxBodyBytes ?? 16 << 20,
    maxConnections: o.maxConnections ?? 1024,
    headersTimeoutMs: o.headersTimeoutMs ?? 10_000,
    requestTimeoutMs: o.requestTimeoutMs ?? 60_000,
    keepAliveMs: o.keepAliveMs ?? 5000,
    maxUnsentBytes: o.maxUnsentBytes ?? 1 << 20,
    stallMs: o.stallMs ?? 60_000,
    log: o.log ?? (() => undefined),
    logContent: o.logContent ?? false,
  };
  checkString(fn, 'host', settings.host);
  checkFunction(fn, 'log', settings.log);
  checkInteger(fn, 'port', settings.port, 0, 65535);
  checkInteger(fn, 'maxBodyBytes', settings.maxBodyBytes, 1, 1 << 30);
  checkInteger(fn, 'maxConnections', settings.maxConnections, 1);
  for (const name of ['headersTimeoutMs', 'requestTimeoutMs', 'keepAliveMs', 'stallMs'] as const) {
    checkInteger(fn, name, settings[name], 1, DAY_MS);
  }
  checkInteger(fn, 'maxUnsentBytes', settings.maxUnsentBytes, 1);
  for (const name of ['allowPublic', 'thinking', 'logContent'] as const) {
    if (typeof settings[name] !== 'boolean') throw new KindError(`${fn}: "${name}" must be true or false`);
  }
  for (const key of settings.apiKeys) {
    if (!/^[\x21-\x7e]+$/.test(key)) {
      throw new ValueError(`${fn}: "apiKeys" must hold keys of visible ASCII characters without blanks`);
    }
  }
  for (const origin of settings.cors) {
    if (origin !== '*' && !/^[a-z][a-z0-9+.-]*:\/\/[^/?#\s]+$/i.test(origin)) {
      throw new ValueError(
        `${fn}: "cors" must hold origins such as https://chat.example.com, without a path, or *; got ${origin}`,
      );
    }
  }
  if (!isLoopback(settings.host) && settings.apiKeys.length === 0 && !settings.allowPublic) {
    throw new ValueError(
      `${fn}: ${settings.host} can be reached from other machines, and no API key is set: anybody could use the model. Give a key, listen on 127.0.0.1, or say that this is meant with "allowPublic"`,
    );
  }
  return settings;
}
