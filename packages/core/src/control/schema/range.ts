import { checkInteger } from '../../check-integer.ts';
import { PARAMETERS, type Parameter } from './parameters.ts';
import type { Side } from './use.ts';

/** The integers that a parameter takes; undefined for one that takes none. `most` is absent for 64 bits. */
export function rangeOf({ type, range }: Parameter): { least: number; most?: number } | undefined {
  switch (type) {
    case 'uint8':
      return { least: range?.least ?? 0, most: range?.most ?? 255 };
    case 'uint32':
      return { least: range?.least ?? 0, most: range?.most ?? 2 ** 32 - 1 };
    case 'uint64':
    case 'size':
      return { least: range?.least ?? 0, most: range?.most };
    default:
      return undefined;
  }
}

/**
 * Checks every option that is a parameter's integer.
 * @throws MigrationError `bad-option` that names the parameter
 */
export function checkRanges(side: Side, options: object): void {
  for (const [name, parameter] of Object.entries<Parameter>(PARAMETERS)) {
    const range = rangeOf(parameter);
    const option = parameter[side];
    if (range === undefined || typeof option !== 'string') continue;
    const value = (options as Record<string, unknown>)[option];
    if (value === undefined) continue;
    checkInteger(name, value as number, range.least, range.most ?? Number.MAX_SAFE_INTEGER);
  }
}

/** What the size of XBZRLE's cache must be, beside a page at least. */
export function isPowerOfTwo(value: number | bigint): boolean {
  const whole = typeof value === 'bigint' || Number.isSafeInteger(value) ? BigInt(value) : 0n;
  return whole > 0n && (whole & (whole - 1n)) === 0n;
}
