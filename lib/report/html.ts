/** HTML from templates. The one place that escapes: what is not markup made here becomes text. */

/** Markup that needs no escaping any more. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  toString(): string {
    return this.text;
  }
}

type Value = Markup | string | number | undefined | false | readonly Value[];

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Characters that a reader cannot see, or that reorder what is seen: shown by their number. Tabs and ends of lines stay. */
const INVISIBLE = /(?![\t\n\r])[\p{Cc}\p{Cf}\p{Cs}]/gu;

/** Text for a place between tags or inside a quoted attribute. */
export function escapeHtml(text: string): string {
  return text
    .replace(INVISIBLE, (found) => `\\u{${found.codePointAt(0)?.toString(16)}}`)
    .replace(/[&<>"']/g, (found) => ENTITIES[found] ?? found);
}

function render(value: Value): string {
  if (value instanceof Markup) return value.text;
  if (value === undefined || value === false) return '';
  if (typeof value === 'string' || typeof value === 'number') return escapeHtml(String(value));
  return value.map(render).join('');
}

/** A template: what is put in is escaped, unless it is markup; lists are joined; undefined and false are nothing. */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): Markup {
  return new Markup(parts.map((part, i) => part + render(values[i])).join(''));
}
