import { MigrationError } from '@pageferry/core';
import { type QmpCommand, QmpError } from '@pageferry/core/qmp';
import { z } from 'zod';

/** A command of the monitor, with the types of its arguments. */
export interface CommandOptions {
  readonly allowOutOfBand?: boolean;
}

/**
 * A command whose arguments are checked before it runs.
 * @param run may throw a MigrationError: its message is the answer
 */
export function command<S extends z.ZodRawShape>(
  shape: S,
  run: (args: z.output<z.ZodObject<S>>) => unknown,
  options: CommandOptions = {},
): QmpCommand {
  const type = z.strictObject(shape);
  return {
    ...options,
    async run(given) {
      const read = type.safeParse(given);
      if (!read.success) throw new QmpError(describe(read.error.issues, given));
      try {
        return (await run(read.data as z.output<z.ZodObject<S>>)) ?? {};
      } catch (error) {
        throw error instanceof MigrationError ? new QmpError(error.message) : error;
      }
    },
  };
}

/** What is wrong with the arguments, in QEMU's order: a wrong type comes before one that is not known. */
function describe(issues: readonly z.core.$ZodIssue[], given: unknown): string {
  const issue = issues.find(({ code }) => code !== 'unrecognized_keys') ?? issues[0]!;
  if (issue.code === 'invalid_union') {
    // The form that fits best is the one whose discriminating member is right: the fewest complaints.
    const best = issue.errors.toSorted((one, other) => one.length - other.length)[0];
    if (best !== undefined && best.length > 0) {
      const [first, ...rest] = best.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] }));
      return describe([first!, ...rest], given);
    }
  }
  const name = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    const path = [...issue.path, issue.keys[0]!].map(String).join('.');
    return `there is no argument ${path}`;
  }
  const found = issue.path.reduce<unknown>((outer, key) => (outer as never)?.[key], given);
  if (found === undefined) return `argument ${name} is missing`;
  if (issue.code === 'invalid_value') return `argument ${name} cannot be ${String(found)}`;
  if (issue.code === 'invalid_type') {
    return `argument ${name} has another type than ${EXPECTED[issue.expected] ?? issue.expected}`;
  }
  return `argument ${name}: ${issue.message}`;
}

const EXPECTED: Readonly<Record<string, string>> = { int: 'integer', number: 'integer', record: 'object' };
