import { checkObject, checkString, ValueError } from '@megamoe/core';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** Variables by name, as `process.env`. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What the environment says about the Hub; the rules are those of `huggingface_hub` (its page "Environment variables"). */
export interface HubSettings {
  /** Folder that holds the models, absolute: `~/.cache/huggingface/hub` if nothing says otherwise. */
  readonly cacheDir: string;
  /** What named the folder: a variable, or undefined for the default. */
  readonly cacheFrom: string | undefined;
  /** `https://huggingface.co`, or `HF_ENDPOINT`; without a slash at the end. */
  readonly endpoint: string;
  /** `HF_TOKEN`, or what `hf auth login` has left; undefined for neither. */
  readonly token: string | undefined;
  /** The variable that forbids the network, as `HF_HUB_OFFLINE`; undefined when none does. */
  readonly offline: string | undefined;
}

/** A variable that is set to nothing is not set. @throws KindError for what is no text */
function value(env: Environment, name: string): string | undefined {
  const text: unknown = env[name];
  if (text === undefined) return undefined;
  checkString('hubSettings', `env.${name}`, text);
  return text.trim() || undefined;
}

const isTrue = (text: string | undefined): boolean => /^(?:1|on|yes|true)$/i.test(text ?? '');

/** A path as a shell would have it: `~` and variables replaced. */
function expand(path: string, env: Environment): string {
  const home = value(env, 'HOME') ?? homedir();
  return path
    .replace(/^~(?=$|[/\\])/, () => home)
    .replace(/\$(?:(\w+)|\{(\w+)\})/g, (whole, a?: string, b?: string) => {
      const name = a ?? b!;
      return env[name] === '' ? '' : (value(env, name) ?? whole);
    });
}

/** The cache and the variable that named it. */
function cacheOf(env: Environment): { dir: string; home: string; from: string | undefined } {
  const named = (name: string): [string, string] | undefined => {
    const path = value(env, name);
    return path === undefined ? undefined : [name, expand(path, env)];
  };
  const xdg = named('XDG_CACHE_HOME');
  const home = named('HF_HOME') ??
    (xdg && [xdg[0], join(xdg[1], 'huggingface')]) ?? [undefined, expand('~/.cache/huggingface', env)];
  const [from, dir] = named('HF_HUB_CACHE') ?? named('HUGGINGFACE_HUB_CACHE') ?? [home[0], join(home[1], 'hub')];
  return { dir: resolve(dir), home: home[1], from };
}

/** The token of the environment or of the token file. @throws ValueError for one that no header can carry, without showing it */
function tokenOf(env: Environment, home: string): string | undefined {
  if (isTrue(value(env, 'HF_HUB_DISABLE_IMPLICIT_TOKEN'))) return undefined;
  const path = value(env, 'HF_TOKEN_PATH');
  const file = path === undefined ? join(home, 'token') : expand(path, env);
  let [from, token] = ['HF_TOKEN', value(env, 'HF_TOKEN') ?? value(env, 'HUGGING_FACE_HUB_TOKEN')];
  if (token === undefined) {
    from = file;
    try {
      token = readFileSync(file, 'utf8').trim() || undefined;
    } catch {
      return undefined; // nobody has logged in
    }
  }
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token))
    throw new ValueError(`hubSettings: the token in ${from} holds spaces or characters that are not ASCII`);
  return token;
}

function endpointOf(env: Environment): string {
  const text = value(env, 'HF_ENDPOINT') ?? 'https://huggingface.co';
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    url = undefined;
  }
  const good = url && /^https?:$/.test(url.protocol) && !url.username && !url.password && !url.search && !url.hash;
  if (!good)
    throw new ValueError(
      'hubSettings: HF_ENDPOINT must be an http or https address without user, query or fragment, as https://huggingface.co',
    );
  return text.replace(/\/+$/, '');
}

/**
 * Reads what the environment says about the Hub: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, in this order, name the
 * cache; `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE` (or `TRANSFORMERS_OFFLINE`) say how to reach the server.
 * @throws ValueError for an endpoint or a token that cannot be used
 */
export function hubSettings(env: Environment = process.env): HubSettings {
  checkObject('hubSettings', 'env', env);
  const { dir, home, from } = cacheOf(env);
  const offline = ['HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE'].find((name) => isTrue(value(env, name)));
  return { cacheDir: dir, cacheFrom: from, endpoint: endpointOf(env), token: tokenOf(env, home), offline };
}

/** The cache alone: looking for a model needs neither token nor endpoint, so that a wrong one cannot stop it. */
export function cacheFolder(env: Environment = process.env): Pick<HubSettings, 'cacheDir' | 'cacheFrom'> {
  checkObject('hubSettings', 'env', env);
  const { dir, from } = cacheOf(env);
  return { cacheDir: dir, cacheFrom: from };
}
