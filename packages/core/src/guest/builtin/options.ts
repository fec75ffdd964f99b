import { MigrationError } from '../../error.ts';
import { TARGET_PAGE_BYTES } from '../../memory/ram-block.ts';
import { CONTENT_MIXES, type ContentMix } from './content.ts';
import { MIN_PAGES_PER_VCPU } from './layout.ts';
import type { NicOptions } from './nic.ts';

/** How a vCPU chooses the page that it writes next. `hot-cold`: 9 of 10 writes go to a tenth of the pages. */
export const WORKLOADS = ['sequential', 'random', 'hot-cold'] as const;
export type Workload = (typeof WORKLOADS)[number];

const MAX_VCPUS = 64;

/** What can be chosen about a built-in machine. */
export interface BuiltinMachineOptions {
  /** Size of its RAM; a multiple of 4096. */
  readonly memoryBytes: number;
  /** 1 to 64, each a thread; 1 by default. */
  readonly vcpus?: number;
  /** Bytes of pages dirtied per second by all vCPUs together; 0 (the default) leaves them idle. */
  readonly dirtyRateBytesPerSecond?: number;
  /** `random` by default. */
  readonly workload?: Workload;
  /** How much of the RAM the workload writes; all by default. */
  readonly workingSetBytes?: number;
  /** `mixed` by default. */
  readonly content?: ContentMix;
  /** Chooses content and order of writes; 32 bits, 1 by default. */
  readonly seed?: number;
  /** 16 bytes, RFC 4122 order; none by default. */
  readonly uuid?: Uint8Array;
  /** Whether the device state carries hashes of all RAM, which the destination compares; off by default. */
  readonly verify?: boolean;
  /** A network card that announces the machine after a move; none by default. */
  readonly nic?: NicOptions;
  /** Whether pages that hold zeros get memory of their own at once, not only when written; off by default. */
  readonly preallocate?: boolean;
}

/** The options as they are kept and as they travel: every one set, names as indices. */
export interface MachineConfig {
  readonly vcpus: number;
  readonly dirtyRateBytesPerSecond: number;
  /** Index in `WORKLOADS`. */
  readonly workload: number;
  readonly workingSetPages: number;
  /** Index in `CONTENT_MIXES`. */
  readonly content: number;
  readonly seed: number;
  readonly verify: boolean;
}

/** @throws MigrationError `bad-option` naming the option. */
export function machineConfig(options: BuiltinMachineOptions): MachineConfig {
  const { memoryBytes, vcpus = 1, dirtyRateBytesPerSecond = 0, seed = 1 } = options;
  checkVcpus(vcpus);
  checkMemoryBytes(memoryBytes, vcpus);
  if (!(dirtyRateBytesPerSecond >= 0 && Number.isFinite(dirtyRateBytesPerSecond))) {
    throw badOption('dirtyRateBytesPerSecond', dirtyRateBytesPerSecond, '0 or more');
  }
  requireWhole('seed', seed, -(2 ** 31), 2 ** 32 - 1);
  const workingSetBytes = options.workingSetBytes ?? memoryBytes;
  requireWhole('workingSetBytes', workingSetBytes, TARGET_PAGE_BYTES, memoryBytes);
  checkUuid(options.uuid);
  return {
    vcpus,
    dirtyRateBytesPerSecond,
    workload: indexOfName('workload', WORKLOADS, options.workload ?? 'random'),
    workingSetPages: Math.floor(workingSetBytes / TARGET_PAGE_BYTES),
    content: indexOfName('content', CONTENT_MIXES, options.content ?? 'mixed'),
    seed: seed | 0,
    verify: options.verify ?? false,
  };
}

/** @throws MigrationError `bad-option` */
export function checkVcpus(vcpus: number): void {
  requireWhole('vcpus', vcpus, 1, MAX_VCPUS);
}

/** @throws MigrationError `bad-option` */
export function checkUuid(uuid: Uint8Array | undefined): void {
  if (uuid !== undefined && uuid.length !== 16) throw badOption('uuid', `${uuid.length} bytes`, '16 bytes');
}

/** @throws MigrationError `bad-option` when the size is unaligned or too small for so many vCPUs. */
export function checkMemoryBytes(memoryBytes: number, vcpus: number): void {
  const least = MIN_PAGES_PER_VCPU * TARGET_PAGE_BYTES * vcpus;
  requireWhole('memoryBytes', memoryBytes, least, Number.MAX_SAFE_INTEGER);
  if (memoryBytes % TARGET_PAGE_BYTES !== 0) {
    throw badOption('memoryBytes', memoryBytes, `a multiple of ${TARGET_PAGE_BYTES}`);
  }
}

function indexOfName(option: string, names: readonly string[], name: string): number {
  const index = names.indexOf(name);
  if (index < 0) throw badOption(option, name, names.join(', '));
  return index;
}

function requireWhole(option: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw badOption(option, value, `${least} to ${most}`);
  }
}

function badOption(option: string, found: unknown, expected: string): MigrationError {
  return new MigrationError('bad-option', `option ${option} of the built-in machine`, {
    found: String(found),
    expected,
  });
}
