import { parseUuid } from '@pageferry/core/wire';
import { InvalidArgumentError } from 'commander';

/** Parsers of option values. Each throws commander's InvalidArgumentError, which becomes a usage error. */

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

/** Bytes: a plain number or one with a binary suffix (`k`, `M`, `G`, `T`, also written `KiB` and so on). */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(?:([kmgt])(?:ib)?)?$/i.exec(text.trim());
  const unit = match === null ? undefined : SIZE_UNITS[(match[2] ?? '').toLowerCase()];
  const bytes = match === null || unit === undefined ? Number.NaN : Number(match[1]) * unit;
  if (!Number.isSafeInteger(bytes)) {
    throw new InvalidArgumentError('A size is a number of bytes, or one with k, M, G or T such as 512M.');
  }
  return bytes;
}

const TIME_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000 };

/** Milliseconds out of a time in seconds, or one with the suffix `ms`, `s` or `m`. */
export function parseSeconds(text: string): number {
  return parseTime(text, 's');
}

/** Milliseconds out of a time in milliseconds, or one with the suffix `ms`, `s` or `m`. */
export function parseMilliseconds(text: string): number {
  return parseTime(text, 'ms');
}

function parseTime(text: string, defaultUnit: 'ms' | 's'): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)?$/.exec(text.trim());
  const milliseconds = match === null ? Number.NaN : Number(match[1]) * TIME_UNITS[match[2] ?? defaultUnit]!;
  // A timer of Node takes no more than 31 bits of milliseconds.
  if (!(milliseconds <= 2 ** 31 - 1)) {
    const unit = defaultUnit === 's' ? 'seconds' : 'milliseconds';
    throw new InvalidArgumentError(`A time is a number of ${unit}, or one with ms, s or m such as 500ms.`);
  }
  return Math.round(milliseconds);
}

/** A decimal integer from `least` to `most`. */
export function parseInteger(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(`Expected an integer from ${least} to ${most}.`);
  };
}

/** `on` or `off`. An option without a value (commander's `true`) means on. */
export function parseOnOff(text: string): boolean {
  if (text === 'on') return true;
  if (text === 'off') return false;
  throw new InvalidArgumentError('Expected on or off.');
}

/** A UUID in its text form, as 16 bytes in RFC 4122 order. */
export function parseUuidOption(text: string): Uint8Array {
  const uuid = parseUuid(text.trim());
  if (uuid !== undefined) return uuid;
  throw new InvalidArgumentError('A UUID looks like 6ba7b810-9dad-11d1-80b4-00c04fd430c8.');
}

/** `BLOCK=FILE`, which may be repeated. */
export function parseMemPath(text: string, before: Record<string, string> = {}): Record<string, string> {
  const [, block, path] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (block === undefined || path === undefined) throw new InvalidArgumentError('Expected BLOCK=FILE.');
  if (before[block] !== undefined) throw new InvalidArgumentError(`${block} was given before.`);
  return { ...before, [block]: path };
}
