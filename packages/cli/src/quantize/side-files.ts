import { isThere } from '@megamoe/checkpoint';
import { readdirSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readBytes } from '../read-file';

/** Weights in any format, and indexes of their shards: the quantized checkpoint has its own. */
const WEIGHTS = /\.(?:safetensors|bin|pt|pth|ckpt|gguf|onnx|onnx_data|h5|msgpack)$|\.index\.json$/i;
/** What speaks of the source's formats; the first two are written anew, a model card is for its author to write. */
const OF_THE_SOURCE: ReadonlySet<string> = new Set(['config.json', 'hf_quant_config.json', 'README.md']);
/** Folders that belong to tools; names that begin with a dot do, too. */
const OF_TOOLS: ReadonlySet<string> = new Set(['__pycache__', 'node_modules']);
/** Why one file is left out with a warning; when the disk fails, what is copied cannot be trusted to be whole. */
const OF_THE_FILE: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR', 'ENXIO']);
/** Most bytes that are copied, since they are in memory together. A tokenizer has ten million, licences, encoder and pictures a few more. */
const MAX_BYTES = 256e6;

/** What lies beside the weights of a checkpoint. */
export interface SideFiles {
  /** Contents by path within the folder, parted by `/`, as `encoding/encoding_dsv4.py`. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** What is left out although it might be wanted, and why. */
  readonly left: ReadonlyMap<string, string>;
}

/**
 * Reads all that a quantized checkpoint keeps of its source besides tensors: tokenizer, generation_config.json, chat templates, the encoder
 * in `encoding/`, `inference/`, licences. Links to files are followed (Hugging Face's cache has nothing else), links to folders are not.
 * @param out folder that is written, which may lie within `dir`
 */
export function sideFiles(dir: string, out: string): SideFiles {
  const files = new Map<string, Uint8Array>();
  const left = new Map<string, string>();
  const outPath = isThere(out) ? realpathSync(out) : undefined;
  let total = 0;
  const visit = (prefix: string): void => {
    const entries = readdirSync(join(dir, prefix), { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of entries) {
      const name = prefix + entry.name;
      const path = join(dir, name);
      if (entry.name.startsWith('.') || OF_TOOLS.has(entry.name)) continue;
      if (entry.isDirectory()) {
        if (outPath === undefined || realpathSync(path) !== outPath) visit(`${name}/`);
        continue;
      }
      if (OF_THE_SOURCE.has(name) || WEIGHTS.test(name)) continue;
      try {
        const info = statSync(path);
        if (!info.isFile()) left.set(name, 'a link to a folder, or no file');
        else if (total + info.size > MAX_BYTES) left.set(name, `${MAX_BYTES / 1e6} MB are copied at most`);
        else {
          files.set(name, readBytes(path));
          total += info.size;
        }
      } catch (error) {
        const { cause = error } = error as Error;
        const { code = '' } = cause as NodeJS.ErrnoException;
        if (!OF_THE_FILE.has(code)) throw error;
        left.set(name, `cannot be read (${code})`);
      }
    }
  };
  visit('');
  return { files, left };
}
