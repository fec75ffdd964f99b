/** An element with its children; text is decoded. */
export interface Element {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: (Element | string)[];
}

/** Elements of HTML that have no end tag; the page uses no other. */
const VOID: ReadonlySet<string> = new Set(['meta', 'wbr']);
const ENTITIES: ReadonlyMap<string, string> = new Map([
  ['amp', '&'],
  ['lt', '<'],
  ['gt', '>'],
  ['quot', '"'],
  ['#39', "'"],
]);

/**
 * Reads a page, more strictly than a browser: every element is closed in its order (SVG's may close themselves), every
 * attribute is quoted and there once, and `&`, `<` and `>` stand in the text only as entities.
 *
 * @returns the `html` element
 * @throws Error that says what is wrong, and shows the text from there
 */
export function readHtml(page: string): Element {
  const root: Element = { name: '', attributes: new Map(), children: [] };
  const open: Element[] = [root];
  const token =
    /<!doctype html>|<\/([a-z][a-z0-9]*)>|<([a-z][a-z0-9]*)((?:\s+[a-zA-Z-]+[0-9]?(?:="[^"<]*")?)*)\s*(\/?)>|([^<]+)/gy;
  let at = 0;
  while (at < page.length) {
    const fail = (what: string) => new Error(`${what}: ${page.slice(at, at + 80)}`);
    token.lastIndex = at;
    const match = token.exec(page);
    if (match === null) throw fail('no tag');
    const [whole, end, start, attributes = '', closed, text] = match;
    const parent = open.at(-1)!;
    if (end !== undefined) {
      if (parent.name !== end) throw fail(`</${end}> where ${parent.name} is open`);
      open.pop();
    } else if (start !== undefined) {
      const element: Element = { name: start, attributes: readAttributes(attributes), children: [] };
      parent.children.push(element);
      if (closed === '/' && !open.some(({ name }) => name === 'svg'))
        throw fail('closes itself outside of SVG');
      if (closed !== '/' && !VOID.has(start)) open.push(element);
    } else if (text !== undefined) {
      if (text.includes('>') && parent.name !== 'style') throw fail('bare >');
      parent.children.push(parent.name === 'style' ? text : decode(text));
    }
    at += whole.length;
  }
  if (open.length > 1) throw new Error(`${open.at(-1)?.name} is never closed`);
  const html = root.children.find((child) => typeof child !== 'string');
  if (html === undefined) throw new Error('no element');
  return html;
}

function readAttributes(text: string): Map<string, string> {
  const attributes = new Map<string, string>();
  for (const [, name = '', value = ''] of text.matchAll(/([a-zA-Z-]+[0-9]?)(?:="([^"]*)")?/g)) {
    if (attributes.has(name)) throw new Error(`attribute ${name} twice in ${text}`);
    attributes.set(name, decode(value));
  }
  return attributes;
}

function decode(text: string): string {
  return text.replace(/&([a-z0-9#]*;?)/g, (whole, name: string) => {
    const character = ENTITIES.get(name.slice(0, -1));
    if (!name.endsWith(';') || character === undefined) throw new Error(`bad entity ${whole}`);
    return character;
  });
}

export function textOf(node: Element | string): string {
  return typeof node === 'string' ? node : node.children.map(textOf).join('');
}

/** All elements below, in the order of the page. */
export function* elementsOf(element: Element): Generator<Element> {
  for (const child of element.children) {
    if (typeof child === 'string') continue;
    yield child;
    yield* elementsOf(child);
  }
}

export function elementsNamed(element: Element, name: string): Element[] {
  return Array.from(elementsOf(element)).filter((one) => one.name === name);
}

export interface ReadTable {
  readonly caption: string;
  /** Text of each cell, with the headings: of the columns (their groups in front), of the row under `''`. */
  readonly rows: readonly ReadonlyMap<string, string>[];
}

/** The tables that have column headings. */
export function tablesOf(page: Element): ReadTable[] {
  return elementsNamed(page, 'table').flatMap((table) => {
    const head = elementsNamed(table, 'thead')[0];
    if (head === undefined) return [];
    const headings = headingsOf(elementsNamed(head, 'tr'));
    const body = elementsNamed(table, 'tbody').flatMap((part) => elementsNamed(part, 'tr'));
    const rows = body.map((row) => {
      const cells = row.children.filter((cell) => typeof cell !== 'string').map(textOf);
      if (cells.length !== headings.length)
        throw new Error(`${cells.length} cells for ${headings.join('|')}`);
      return new Map(cells.map((cell, index) => [headings[index] ?? '', cell]));
    });
    return [{ caption: elementsNamed(table, 'caption').map(textOf).join(''), rows }];
  });
}

function headingsOf([upper, lower]: readonly Element[]): string[] {
  const lowers = lower === undefined ? [] : elementsNamed(lower, 'th').map(textOf);
  return elementsNamed(upper!, 'th').flatMap((cell) => {
    const span = Number(cell.attributes.get('colspan') ?? 0);
    const text = textOf(cell).replaceAll('\u00a0', ' ');
    if (span === 0) return [text];
    return lowers.splice(0, span).map((below) => `${text} ${below}`.replaceAll('\u00a0', ' '));
  });
}
