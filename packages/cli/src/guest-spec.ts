import { MigrationError } from '@pageferry/core';
import { type BuiltinMachineOptions, CONTENT_MIXES, WORKLOADS } from '@pageferry/core/guest';
import { InvalidArgumentError } from 'commander';
import { parseInteger, parseSize } from './values.ts';

/** What `--guest` says: the built-in machine, and where its NIC sends to. */
export interface GuestSpec {
  readonly machine: Omit<BuiltinMachineOptions, 'nic'>;
  /** Absent: the size that `size=` did not give is the default of a source, and of a destination whatever comes. */
  readonly sized: boolean;
  readonly mac?: string;
  /** `udp:HOST:PORT` or `tap:NAME`. */
  readonly network?: string;
}

const DEFAULT_SIZE_BYTES = 256 * 2 ** 20;

/** The members of `--guest builtin,...`, for messages and the help. */
export const GUEST_MEMBERS =
  'size=, vcpus=, dirty-rate=, working-set=, workload=, content=, seed=, mac= and network=';

/** Parses `builtin[,size=512M,dirty-rate=64M,...]`. */
export function parseGuestSpec(text: string): GuestSpec {
  const [kind, ...members] = text.split(',');
  if (kind !== 'builtin') throw new InvalidArgumentError('The only kind of guest is builtin.');
  const spec: Record<string, unknown> = {};
  const given: { mac?: string; network?: string } = {};
  for (const member of members) {
    const equals = member.indexOf('=');
    const name = member.slice(0, Math.max(equals, 0));
    const value = member.slice(equals + 1);
    switch (name) {
      case 'size':
        spec.memoryBytes = parseSize(value);
        break;
      case 'vcpus':
        spec.vcpus = parseInteger(1, 64)(value);
        break;
      case 'dirty-rate':
        spec.dirtyRateBytesPerSecond = parseSize(value);
        break;
      case 'working-set':
        spec.workingSetBytes = parseSize(value);
        break;
      case 'workload':
        spec.workload = oneOf(WORKLOADS, value);
        break;
      case 'content':
        spec.content = oneOf(CONTENT_MIXES, value);
        break;
      case 'seed':
        spec.seed = parseInteger(0, 2 ** 32 - 1)(value);
        break;
      case 'mac':
      case 'network':
        given[name] = value;
        break;
      default:
        throw new InvalidArgumentError(`A guest has ${GUEST_MEMBERS}, not ${member}.`);
    }
  }
  const machine = { memoryBytes: DEFAULT_SIZE_BYTES, ...spec };
  return { machine, sized: spec.memoryBytes !== undefined, ...given };
}

/** @throws MigrationError `bad-option` for what a destination gets from the source */
export function checkTargetSpec({ machine, mac }: GuestSpec): void {
  const { memoryBytes, vcpus, uuid, ...fromSource } = machine;
  const named = Object.keys(fromSource)[0] ?? (mac === undefined ? undefined : 'mac');
  if (named === undefined) return;
  throw new MigrationError('bad-option', 'a guest that is awaited brings this with it', {
    found: named,
    expected: 'size=, vcpus= and network= only',
  });
}

function oneOf<T extends string>(names: readonly T[], value: string): T {
  const found = names.find((name) => name === value);
  if (found === undefined) throw new InvalidArgumentError(`${value} is none of ${names.join(', ')}.`);
  return found;
}
