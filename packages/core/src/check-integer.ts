import { MigrationError } from './error.ts';

/** @throws MigrationError `bad-option` unless `value` is an integer from `least` to `most` */
export function checkInteger(name: string, value: number, least: number, most: number): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  throw new MigrationError('bad-option', `${name} is out of range`, {
    found: String(value),
    expected: `an integer from ${least} to ${most}`,
  });
}
