/** tokenizer.json: other parts of the pipeline, other words, other ids; and now and then something that does not fit. */
import { changeJson, written } from './json.mjs';

const split = (pattern, behavior = 'Isolated', invert = false) => ({ type: 'Split', pattern, behavior, invert });
const BYTE_LEVEL = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
const PRE = [
  null,
  BYTE_LEVEL,
  { ...BYTE_LEVEL, use_regex: false },
  { ...BYTE_LEVEL, add_prefix_space: true },
  { type: 'Digits', individual_digits: false },
  split({ Regex: '\\p{N}{1,3}' }),
  split({ Regex: '[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+' }),
  split({ Regex: '(?i:a|b)|\\s+(?!\\S)' }),
  split({ Regex: '(a+)+$' }),
  split({ Regex: '(?<name>a)\\k<name>' }),
  split({ Regex: '[' }),
  split({ Regex: '' }),
  split({ String: ' ' }),
  split({ String: '' }, 'Removed'),
  split({ Regex: '\\s' }, 'MergedWithPrevious', true),
  split({ Regex: 'x' }, 'Contiguous'),
  split({ Regex: 'x' }, 'Other'),
  { type: 'Whitespace' },
  { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
  { type: 'Punctuation', behavior: 'Isolated' },
  { type: 'Sequence', pretokenizers: [] },
];
const NORMALIZERS = [null, { type: 'NFC' }, { type: 'NFKC' }, { type: 'Lowercase' }, { type: 'Sequence', normalizers: [] }, { type: 'Strip', strip_left: true, strip_right: true }, { type: 'Prepend', prepend: '▁' }, { type: 'Replace', pattern: { String: ' ' }, content: '▁' }, { type: 'Replace', pattern: { Regex: '[' }, content: 1 }, { type: 'Unknown' }]; // prettier-ignore
const DECODERS = [{ type: 'ByteLevel' }, { type: 'ByteLevel' }, { type: 'Sequence', decoders: [] }, null];
const WORDS = [
  'a',
  'ab',
  'Ġthe',
  '½',
  '<x>',
  '<｜User｜>',
  '__proto__',
  'constructor',
  '\u{1f600}',
  'ÄĠ',
  '\0',
  'ĊĊ',
  '((',
  'a|b',
];

/** A tokenizer.json with up to three changes. */
export function makeTokenizer(r, seed) {
  const json = JSON.parse(seed.toString('utf8'));
  for (let n = r.below(4); n > 0; n--) {
    try {
      change(json, r);
    } catch {
      break; // an earlier change has taken away what this one is about
    }
  }
  return Buffer.from(written(json, r));
}

function change(json, r) {
  const { vocab, merges } = json.model;
  const ids = Object.values(vocab);
  switch (r.below(10)) {
    case 0:
      json.pre_tokenizer = r.below(3) === 0 ? r.pick(PRE) : { type: 'Sequence', pretokenizers: [r.pick(PRE), r.pick(PRE), BYTE_LEVEL].filter(Boolean) }; // prettier-ignore
      break;
    case 1:
      json.normalizer = r.pick(NORMALIZERS);
      break;
    case 2:
      json.decoder = r.pick(DECODERS);
      break;
    case 3: // another word, at a free id or one that is taken
      vocab[r.pick(WORDS)] = r.below(4) === 0 ? r.pick(ids) : 1000 + r.below(500);
      break;
    case 4:
      json.added_tokens.push({ id: 2000 + r.below(100), content: r.pick(WORDS), special: r.below(2) === 0, normalized: r.below(2) === 0, lstrip: false, rstrip: false, single_word: false }); // prettier-ignore
      break;
    case 5: {
      const words = Object.keys(vocab);
      const [a, b] = [r.pick(words), r.pick(words)];
      if (r.below(2) === 0) vocab[a + b] = 3000 + r.below(50);
      merges.splice(r.below(merges.length + 1), 0, r.below(2) === 0 ? [a, b] : `${a} ${b}`);
      break;
    }
    case 6:
      Reflect.deleteProperty(vocab, r.pick(Object.keys(vocab)));
      break;
    case 7:
      Object.assign(json.model, r.pick([{ ignore_merges: true }, { byte_fallback: true }, { unk_token: 'a' }, { dropout: 0.5 }, { fuse_unk: true }, { continuing_subword_prefix: '##' }, { end_of_word_suffix: '</w>' }])); // prettier-ignore
      break;
    case 8:
      json.post_processor = r.pick([null, { type: 'ByteLevel' }, { type: 'TemplateProcessing' }, { type: 'Sequence', processors: [] }, 7]); // prettier-ignore
      break;
    default:
      changeJson(r.below(2) === 0 ? json : r.pick([json.model, json.added_tokens, json.pre_tokenizer ?? json]), r);
  }
}
