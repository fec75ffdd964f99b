import { z } from 'zod';
import { MigrationError } from '../../error.ts';
import { type CapabilityName, capabilitiesOf } from './capabilities.ts';
import { type Parameter, type ParameterName, type ParameterValue, parametersOf } from './parameters.ts';
import { isAlive, type QemuVersion } from './version.ts';

/**
 * Reads what came as the arguments of migrate-set-parameters and migrate-set-capabilities: types, unknown
 * and missing members. Ranges and contradictions are looked at after all of that, as in QEMU.
 */

export type ParameterChanges = Partial<Record<ParameterName, ParameterValue>>;

export interface CapabilityState {
  capability: CapabilityName;
  state: boolean;
}

/** @throws MigrationError `bad-option` that names the member */
export function readParameters(args: unknown, version: QemuVersion): ParameterChanges {
  let shape = parameterShapes.get(version);
  if (shape === undefined) {
    shape = parameterShape(version);
    parameterShapes.set(version, shape);
  }
  return read(shape, args, 'migration parameters') as ParameterChanges;
}

const parameterShapes = new Map<QemuVersion, z.ZodType>();

function parameterShape(version: QemuVersion): z.ZodType {
  const members = parametersOf(version).map(([name, parameter]) => [name, typeOf(parameter, version)]);
  return z.strictObject(Object.fromEntries(members)).partial();
}

/** @throws MigrationError `bad-option` that names the member */
export function readCapabilities(list: unknown, version: QemuVersion): CapabilityState[] {
  const names = capabilitiesOf(version).map(([name]) => name);
  const shape = z.array(z.strictObject({ capability: z.enum(names), state: z.boolean() }));
  return read(shape, list, 'capabilities');
}

function typeOf(parameter: Parameter, version: QemuVersion): z.ZodType {
  switch (parameter.type) {
    case 'size':
    case 'uint64':
      return UINT64;
    case 'uint32':
      return uint(2 ** 32 - 1);
    case 'uint8':
      return uint(255);
    case 'bool':
      return z.boolean();
    case 'string':
      return z
        .string()
        .nullable()
        .transform((text) => text ?? '');
    case 'enum':
      return z.enum(valuesOf(parameter, version));
    case 'strings':
      return z.array(z.string());
    case 'bitmap-mapping':
      return BITMAP_MAPPING;
  }
}

/** The values that an `enum` has in QEMU `version`. */
function valuesOf(parameter: Parameter, version: QemuVersion): string[] {
  const values = Object.entries(parameter.values ?? {});
  return values.filter(([, since]) => isAlive({ since }, version)).map(([value]) => value);
}

/** The largest integer that fits into a number; what is above it is a bigint. */
const LARGEST_NUMBER = Number.MAX_SAFE_INTEGER;

/** QEMU takes a negative number for the uint64 with the same bits. */
const UINT64 = z
  .union([z.int(), z.bigint()], { error: 'an integer' })
  .refine((value) => value >= -(2n ** 63n) && value < 2n ** 64n, { error: 'an integer of 64 bits' })
  .transform((value) => {
    const unsigned = BigInt.asUintN(64, BigInt(value));
    return unsigned <= LARGEST_NUMBER ? Number(unsigned) : unsigned;
  });

function uint(most: number): z.ZodType {
  return z
    .union([z.int(), z.bigint()], { error: 'an integer' })
    .refine((value) => value >= 0 && value <= most, { error: `an integer from 0 to ${most}` })
    .transform(Number);
}

const BITMAP_MAPPING = z.array(
  z.strictObject({
    'node-name': z.string(),
    alias: z.string(),
    bitmaps: z.array(
      z.strictObject({
        name: z.string(),
        alias: z.string(),
        transform: z.strictObject({ persistent: z.boolean().optional() }).optional(),
      }),
    ),
  }),
);

function read<T>(type: z.ZodType<T>, value: unknown, what: string): T {
  const result = type.safeParse(value);
  if (result.success) return result.data;
  // A member of the wrong type comes before one that is not known.
  const issues = result.error.issues;
  const issue = issues.find(({ code }) => code !== 'unrecognized_keys') ?? issues[0]!;
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  const path = [...issue.path, ...(unknown === undefined ? [] : [unknown])];
  const member = path.reduce<string>(join, typeof path[0] === 'number' ? what : '') || what;
  if (unknown !== undefined) throw new MigrationError('bad-option', `${member} is not known`);
  const found = issue.path.reduce<unknown>((outer, key) => (outer as never)?.[key], value);
  if (found === undefined) throw new MigrationError('bad-option', `${member} is missing`);
  throw new MigrationError('bad-option', `${member} is not what it takes`, {
    found: show(found),
    expected: expectation(issue),
  });
}

function join(path: string, key: PropertyKey): string {
  if (typeof key === 'number') return `${path}[${key}]`;
  return path === '' ? String(key) : `${path}.${String(key)}`;
}

function expectation(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_value') return issue.values.map(String).join(', ');
  if (issue.code === 'invalid_type') return EXPECTED[issue.expected] ?? issue.expected;
  return issue.message;
}

const EXPECTED: Readonly<Record<string, string>> = {
  boolean: 'true or false',
  string: 'a string',
  array: 'a list',
  object: 'an object',
};

const SHOWN_CHARACTERS = 60;

function show(value: unknown): string {
  const text = JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? String(inner) : inner)) ?? '';
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}
