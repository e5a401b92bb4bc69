/** Text that is already HTML or SVG. Everything else is escaped where {@link markup} puts it in. */
export class Markup {
  constructor(readonly text: string) {}
}

/** What {@link markup} takes between its strings: text is escaped, lists are joined, nothing becomes nothing. */
export type MarkupValue = string | number | Markup | readonly MarkupValue[] | null | undefined | false;

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** `text` for element content or a quoted attribute. Characters that XML does not allow become U+FFFD. */
export function escapeMarkup(text: string): string {
  return (
    text
      .replace(/[&<>"']/g, (c) => ENTITIES[c]!)
      // eslint-disable-next-line no-control-regex -- names in hostile checkpoints may hold any byte
      .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, '\ufffd')
  );
}

function textOf(value: MarkupValue): string {
  if (value instanceof Markup) return value.text;
  if (value === null || value === undefined || value === false) return '';
  if (typeof value === 'object') return value.map(textOf).join('');
  return escapeMarkup(String(value));
}

/** A path or a dotted name that may be broken into lines after each part, and nowhere else. */
export function breakable(name: string): Markup {
  return new Markup(
    name
      .split(/(?<=[/.])(?=[^/.])/)
      .map(escapeMarkup)
      .join('<wbr>'),
  );
}

/** Template tag: markup with every value escaped unless it is {@link Markup} itself. */
export function markup(strings: TemplateStringsArray, ...values: readonly MarkupValue[]): Markup {
  return new Markup(strings.map((s, i) => (i === 0 ? s : textOf(values[i - 1]) + s)).join(''));
}
