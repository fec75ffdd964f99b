/**
 * QEMU's dialect of JSON: strings may also stand in single quotes, and integers have 64 bits. Output is ASCII,
 * with a space behind each comma and colon.
 */

const STRINGS = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g;

/**
 * Reads one value. Integers that a number cannot hold exactly become a bigint.
 * @throws SyntaxError
 */
export function parseJson(text: string): unknown {
  const standard = text.includes("'") ? text.replace(STRINGS, doubleQuoted) : text;
  // TypeScript does not know the reviver's third argument yet.
  const parse = JSON.parse as (text: string, reviver: Reviver) => unknown;
  return parse(standard, exactNumber);
}

type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown;

function exactNumber(_key: string, value: unknown, { source = '' }: { source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
  if (!Number.isFinite(value)) throw new SyntaxError(`the number ${source} is out of range`);
  return /^-?\d+$/.test(source) ? BigInt(source) : value;
}

function doubleQuoted(string: string): string {
  if (string.startsWith('"')) return string;
  return `"${string.slice(1, -1).replace(/\\'|"/g, (found) => (found === '"' ? '\\"' : "'"))}"`;
}

/** One value as text without a line's end. */
export function formatJson(value: unknown): string {
  // A raw line's end can only be the indentation's: strings have theirs escaped.
  return JSON.stringify(value, rawIntegers, 1)
    .replace(/(?<=[{[])\n *|\n *(?=[}\]])/g, '')
    .replace(/\n */g, ' ')
    .replace(
      /[\u007f-\uffff]/g,
      (unit) => `\\u${unit.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`,
    );
}

function rawIntegers(_key: string, value: unknown): unknown {
  if (typeof value !== 'bigint') return value;
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };
  return rawJSON(String(value));
}
