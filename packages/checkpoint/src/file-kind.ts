import { closeSync, openSync, readSync, statSync } from 'node:fs';

/** First bytes that are looked at. */
export const HEAD_BYTES = 512;

const SAVE_AS = 'save the model as safetensors';

/** Formats by what they begin with, as Latin-1 text. */
const MAGIC: Readonly<Record<string, readonly string[]>> = {
  [`a zip archive, as torch.save writes its files (.pt, .pth, .bin); ${SAVE_AS}`]: ['PK\x03\x04', 'PK\x05\x06'],
  'a GGUF file, which is not read here': ['GGUF'],
  'a GGML file, which is not read here': ['ggml', 'lmgg', 'ggjt', 'tjgg', 'ggla', 'algg'],
  [`a Python pickle, as old versions of torch.save write; ${SAVE_AS}`]: [
    '\x80\x02',
    '\x80\x03',
    '\x80\x04\x95',
    '\x80\x05\x95',
  ],
  'a gzip archive; unpack it first': ['\x1f\x8b\x08'],
  'a bzip2 archive; unpack it first': ['BZh11AY&SY', 'BZh91AY&SY'],
  'an xz archive; unpack it first': ['\xfd7zXZ\0'],
  'a zstd archive; unpack it first': ['\x28\xb5\x2f\xfd'],
  'a 7-zip archive; unpack it first': ['7z\xbc\xaf\x27\x1c'],
  [`a NumPy array (.npy); ${SAVE_AS}`]: ['\x93NUMPY'],
  [`an HDF5 file; ${SAVE_AS}`]: ['\x89HDF\r\n\x1a\n'],
};

/** Where a tar archive says that it is one. */
const TAR_MARK = 257;

const sizeText = (size: string | undefined): string => (size === undefined ? '' : ` of ${size} bytes`);

/** What a text is; pointers and error pages are texts. */
function kindOfText(text: string): string {
  const size = /^size (\d+)\s*$/m.exec(text)?.[1];
  if (/^version https:\/\/(?:git-lfs\.github|hawser\.github)\.com\/spec\//.test(text))
    return `a Git LFS pointer, not the file${sizeText(size)} that it stands for: fetch that with "git lfs pull"`;
  if (/^# xet version/.test(text)) return 'a Xet pointer, not the file that it stands for: download the file itself';
  if (/^(?:\.\.\/)*(?:\.git)?\/?annex\/objects\//.test(text))
    return 'a git-annex pointer, not the file that it stands for: fetch that with "git annex get"';
  const start = text.trimStart();
  if (/^<(?:!doctype\s+html|html|head|body|title|!--)/i.test(start))
    return 'a web page (HTML): a login or error page was saved in place of the file; download it again';
  if (/^<(?:\?xml|Error|[A-Za-z]\w*>)/.test(start))
    return 'an XML document: a storage error was saved in place of the file; download it again';
  const shown = start.length > 60 ? `${start.slice(0, 60)}...` : start.trimEnd();
  if (/^(?:\{\s*["}]|\[\s*[[{"\d\]-])/.test(start)) return `JSON text, ${JSON.stringify(shown)}`;
  return `plain text, ${JSON.stringify(shown)}`;
}

/**
 * What a file is that is not what it should be, told by its first bytes: an archive, a pickle, a pointer of Git LFS, an error page, nothing at all.
 * Undefined when they say nothing, and for texts shorter than 8 bytes.
 */
export function kindOfBytes(head: Uint8Array): string | undefined {
  if (head.length === 0) return 'an empty file: its download or copy did not happen; fetch it again';
  const latin = Buffer.from(head).toString('latin1');
  const known = Object.entries(MAGIC).find(([, starts]) => starts.some((start) => latin.startsWith(start)));
  if (known) return known[0];
  if (latin.startsWith('ustar', TAR_MARK)) return 'a tar archive; unpack it first';
  if (head.length < 8) return undefined;
  if (head.every((byte) => byte === 0)) return 'zeros: its space was reserved and its bytes never came; fetch it again';
  const text = new TextDecoder().decode(head);
  // The last character may have been cut.
  const isText =
    head.every((byte) => byte >= 0x20 || (byte >= 0x09 && byte <= 0x0d)) && !text.slice(0, -1).includes('\ufffd');
  return isText ? kindOfText(text) : undefined;
}

/** {@link kindOfBytes} of the file at `path`, JSON texts aside, which are damaged where JSON is expected; undefined when it cannot be read. */
export function kindOfFile(path: string): string | undefined {
  let fd: number | undefined;
  try {
    if (!statSync(path).isFile()) return undefined; // opening a FIFO would wait for somebody who writes
    fd = openSync(path, 'r');
    const head = new Uint8Array(HEAD_BYTES);
    const kind = kindOfBytes(head.subarray(0, readSync(fd, head, 0, HEAD_BYTES, 0)));
    return kind?.startsWith('JSON') || kind?.startsWith('plain text') ? undefined : kind;
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
