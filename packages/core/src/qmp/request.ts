import { QmpError } from './error.ts';

/**
 * One request of a client:
 *   {"execute": NAME, "arguments": {...}, "id": ANY}, the last two optional; or `exec-oob` instead of `execute`.
 */
export interface QmpRequest {
  readonly command: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  readonly outOfBand: boolean;
  /** Echoed in the answer; absent and null differ. */
  readonly id?: unknown;
}

/** The member `id` of whatever a client sent, so that even an error can be told apart. */
export function idOf(value: unknown): { id?: unknown } {
  return isObject(value) && Object.hasOwn(value, 'id') ? { id: value.id } : {};
}

/**
 * Checks a request's form.
 * @param outOfBandEnabled whether the client has negotiated `oob`
 * @throws QmpError
 */
export function parseRequest(value: unknown, outOfBandEnabled: boolean): QmpRequest {
  if (!isObject(value)) throw new QmpError('a request is a JSON object');
  let command: unknown;
  let given: unknown = {};
  let outOfBand = false;
  for (const [name, member] of Object.entries(value)) {
    if (name === 'execute' || (name === 'exec-oob' && outOfBandEnabled)) {
      if (command !== undefined) throw new QmpError('a request has execute or exec-oob, not both');
      if (typeof member !== 'string') throw new QmpError(`${name} of a request is a string`);
      command = member;
      outOfBand = name === 'exec-oob';
    } else if (name === 'arguments') {
      if (!isObject(member)) throw new QmpError('arguments of a request is an object');
      given = member;
    } else if (name !== 'id') throw new QmpError(`a request has no member ${name}`);
  }
  if (typeof command !== 'string') throw new QmpError('a request has execute, the name of a command');
  return { command, arguments: given as QmpRequest['arguments'], outOfBand, ...idOf(value) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
