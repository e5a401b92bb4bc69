import { breakable, markup, type Markup, type MarkupValue } from './markup';
import { PAGE_STYLE } from './style';

/** How something stands, for colour; a sign or a word always says the same. */
export type Tone = 'good' | 'warn' | 'bad';

/** One part of a page. */
export interface Section {
  readonly heading: string;
  /** A sentence under the heading: what is shown, in which unit. */
  readonly note?: MarkupValue;
  readonly body: MarkupValue;
}

/** A report. */
export interface Page {
  readonly title: string;
  /** One sentence that answers the question the report was made for. */
  readonly verdict: { readonly tone: Tone; readonly text: string };
  /** Short facts: what was looked at, how, when. Paths may be broken at their parts. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  readonly sections: readonly Section[];
  /** The command that makes this page again. */
  readonly command: string;
}

const SIGN: Record<Tone, string> = { good: '\u2713', warn: '!', bad: '\u2717' };

/**
 * A page in one file: no scripts, no network, light and dark as the reader's system asks, from phone to desk width. Text is escaped;
 * a policy in its head lets a browser load nothing even if a value slipped through.
 */
export function htmlPage({ title, verdict, facts, sections, command }: Page): string {
  const head = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
${markup`<title>${title}</title>`.text}
<style>${PAGE_STYLE}</style>
</head>
`;
  const body = markup`<body>
<main>
<h1>${title}</h1>
<p class="verdict ${verdict.tone}" role="status"><b aria-hidden="true">${SIGN[verdict.tone]}</b><span>${verdict.text}</span></p>
<dl class="facts">${facts.map(([name, value]) => markup`<div><dt>${name}</dt><dd>${breakable(value)}</dd></div>`)}</dl>
${sections.map(sectionMarkup)}
<footer>Made by <code>${command}</code></footer>
</main>
</body>
</html>
`;
  return head + body.text;
}

function sectionMarkup({ heading, note, body }: Section): Markup {
  return markup`<section>
<h2>${heading}</h2>
${note ? markup`<p class="soft">${note}</p>` : ''}
${body}
</section>
`;
}
