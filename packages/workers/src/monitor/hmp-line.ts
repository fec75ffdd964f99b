/** Reads a line of the monitor for people: words, quoted where they hold spaces, and flags before the arguments. */

/** What a command takes: the letters of its flags, and its arguments in order; `?` behind one that may be absent. */
export interface HmpSyntax {
  readonly flags?: string;
  readonly takes?: readonly string[];
}

export interface HmpArguments {
  readonly flags: ReadonlySet<string>;
  readonly values: Readonly<Record<string, string>>;
}

/** A line that cannot be what it is meant to be; the message is for the person who typed it. */
export class HmpUsageError extends Error {}

/** @throws HmpUsageError for a quote that does not end */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  const pattern = /\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"]\S*))/y;
  const text = line.trimEnd();
  while (pattern.lastIndex < text.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(text);
    if (match === null) throw new HmpUsageError(`a quote does not end: ${text.slice(at).trim()}`);
    words.push(match[2] ?? unquote(match[1]!));
  }
  return words;
}

function unquote(quoted: string): string {
  return quoted.replace(/\\(.)/g, (_, letter: string) => ({ n: '\n', r: '\r' })[letter] ?? letter);
}

/** @throws HmpUsageError that names the flag or argument */
export function readArguments(
  name: string,
  words: readonly string[],
  { flags: known = '', takes = [] }: HmpSyntax,
): HmpArguments {
  const flags = new Set<string>();
  const rest = [...words];
  while (/^-\w$/.test(rest[0] ?? '')) {
    const flag = rest.shift()![1]!;
    if (!known.includes(flag)) throw new HmpUsageError(`${name}: -${flag} is not known`);
    flags.add(flag);
  }
  const values: Record<string, string> = {};
  for (const argument of takes) {
    const value = rest.shift();
    if (value !== undefined) values[argument.replace('?', '')] = value;
    else if (!argument.endsWith('?')) throw new HmpUsageError(`${name}: ${argument} is missing`);
  }
  if (rest.length > 0) throw new HmpUsageError(`${name}: nothing is expected behind it: ${rest.join(' ')}`);
  return { flags, values };
}
