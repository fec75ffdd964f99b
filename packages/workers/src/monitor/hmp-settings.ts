import { PARAMETERS, type Parameter, type ParameterName } from '@pageferry/core/control';
import { QmpError } from '@pageferry/core/qmp';

/** `info migrate_parameters`, and values as people type them. */

/** In which order they are shown, which is not that of QMP; the levels of multifd are not shown. */
const SHOWN: readonly ParameterName[] = [
  ...(['announce-initial', 'announce-max', 'announce-rounds', 'announce-step'] as const),
  ...(['compress-level', 'compress-threads', 'compress-wait-thread', 'decompress-threads'] as const),
  ...(['throttle-trigger-threshold', 'cpu-throttle-initial', 'cpu-throttle-increment'] as const),
  ...(['cpu-throttle-tailslow', 'max-cpu-throttle', 'tls-creds', 'tls-hostname', 'max-bandwidth'] as const),
  ...(['avail-switchover-bandwidth', 'downtime-limit', 'x-checkpoint-delay', 'block-incremental'] as const),
  ...(['multifd-channels', 'multifd-compression', 'zero-page-detection', 'xbzrle-cache-size'] as const),
  ...(['max-postcopy-bandwidth', 'tls-authz', 'block-bitmap-mapping', 'x-vcpu-dirty-limit-period'] as const),
  ...(['vcpu-dirty-limit', 'mode', 'direct-io', 'cpr-exec-command'] as const),
];

const UNITS: Readonly<Record<string, string>> = {
  bytes: ' bytes',
  'bytes/s': ' bytes/second',
  'MiB/s': ' MB/s',
  ms: ' ms',
};

/** The lines of `info migrate_parameters`, out of the answer of query-migrate-parameters. */
export function parameterLines(values: Readonly<Record<string, unknown>>): string[] {
  return SHOWN.filter((name) => values[name] !== undefined).flatMap((name) => lines(name, values[name]));
}

function lines(name: ParameterName, value: unknown): string[] {
  const { type, unit }: Parameter = PARAMETERS[name];
  switch (type) {
    case 'bool':
      return [`${name}: ${value ? 'on' : 'off'}`];
    case 'string':
      return [`${name}: '${value}'`];
    case 'strings':
      return [`${name}:${(value as string[]).map((text) => ` ${text}`).join('')}`];
    case 'bitmap-mapping':
      return [`${name}:`, ...(value as Node[]).flatMap(mappingLines)];
    default:
      // The one bandwidth that is shown without its unit.
      return [`${name}: ${value}${name === 'max-postcopy-bandwidth' ? '' : (UNITS[unit ?? ''] ?? '')}`];
  }
}

interface Node {
  readonly 'node-name': string;
  readonly alias: string;
  readonly bitmaps: readonly { readonly name: string; readonly alias: string }[];
}

function mappingLines({ 'node-name': name, alias, bitmaps }: Node): string[] {
  return [
    `  '${name}' -> '${alias}'`,
    ...bitmaps.map((bitmap) => `    '${bitmap.name}' -> '${bitmap.alias}'`),
  ];
}

/** Parameters whose plain numbers are MiB. */
const IN_MEBIBYTES: readonly string[] = ['max-bandwidth', 'avail-switchover-bandwidth'];

/**
 * What the text of `migrate_set_parameter` stands for, as migrate-set-parameters takes it. Ranges, and names that a
 * release does not have, are left to that command.
 *
 * @throws QmpError when it cannot be read
 */
export function parameterValue(name: string, text: string): unknown {
  const parameter = (PARAMETERS as Readonly<Record<string, Parameter>>)[name];
  switch (parameter?.type) {
    case 'size':
    case 'uint64':
      return sizeValue(name, text);
    case 'uint32':
    case 'uint8':
      return integerValue(name, text);
    case 'bool':
      return boolValue(name, text);
    case 'strings':
      return text.split(' ').filter((word) => word !== '');
    case 'bitmap-mapping':
      throw new QmpError(`${name} can be set by QMP alone`);
    default:
      return text;
  }
}

const SUFFIXES = 'BKMGTPE';
const HEXADECIMAL = /^0x[0-9a-f]+$/i;

/** Bytes, or any number of 64 bits: decimal with a fraction and a suffix, or hexadecimal without either. */
function sizeValue(name: string, text: string): bigint | number {
  const implied = IN_MEBIBYTES.includes(name) ? 'M' : 'B';
  const match = /^(\d+)(?:\.(\d+))?([bkmgtpe])?$/i.exec(text);
  if (match === null && !HEXADECIMAL.test(text)) throw unreadable(name, text, 'a size such as 512M');
  const [, whole = text, fraction = '', suffix = implied] = match ?? [];
  const unit = 1024n ** BigInt(SUFFIXES.indexOf(suffix.toUpperCase()));
  if (fraction !== '' && unit === 1n) throw unreadable(name, text, 'a whole number of bytes');
  const part = fraction === '' ? 0n : (BigInt(fraction) * unit) / 10n ** BigInt(fraction.length);
  return narrow(BigInt(whole) * unit + part);
}

function integerValue(name: string, text: string): bigint | number {
  if (/^\d+$/.test(text) || HEXADECIMAL.test(text)) return narrow(BigInt(text));
  throw unreadable(name, text, 'an integer');
}

function boolValue(name: string, text: string): boolean {
  if (['on', 'true', 'yes', 'y'].includes(text)) return true;
  if (['off', 'false', 'no', 'n'].includes(text)) return false;
  throw unreadable(name, text, 'on or off');
}

function narrow(value: bigint): bigint | number {
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

function unreadable(name: string, text: string, expected: string): QmpError {
  return new QmpError(`${name}: found ${JSON.stringify(text)}, expected ${expected}`);
}
