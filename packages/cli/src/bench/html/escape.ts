/**
 * Markup that is safe to put into the page. Everything in a report is text from outside (file names, block
 * names, library versions), so the templates escape by default, and only what came out of a template is not
 * escaped again.
 */
export class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Part = string | number | Markup | readonly Markup[] | undefined;

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/**
 * Text for element content and for quoted attributes. Control characters, which HTML forbids, and the marks that
 * turn the direction of writing, with which a name can disguise itself, become U+FFFD.
 */
function escapeText(text: string): string {
  return text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Bidi_Control}\p{Noncharacter_Code_Point}]/gu, '\ufffd')
    .replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}

/**
 * A template for HTML and SVG. Strings are escaped, numbers are coordinates or counts and get at most two
 * decimals, `undefined` is left out.
 *
 * @throws RangeError for a number that is not finite: text such as `NaN` must not reach the page
 */
export function html(literals: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  let text = literals[0] ?? '';
  parts.forEach((part, index) => {
    text += textOf(part) + (literals[index + 1] ?? '');
  });
  return new Markup(text);
}

function textOf(part: Part): string {
  if (part === undefined) return '';
  if (part instanceof Markup) return part.text;
  if (typeof part === 'string') return escapeText(part);
  if (typeof part === 'number') {
    if (!Number.isFinite(part)) throw new RangeError(`${part} in a template`);
    return String(Number(part.toFixed(2)));
  }
  return part.map((one) => one.text).join('');
}
