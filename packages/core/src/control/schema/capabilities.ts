import {
  NO_BITMAPS,
  NO_BLOCK,
  NO_COLO,
  NO_POSTCOPY,
  NO_RDMA,
  NO_ZERO_COPY,
  NOT_YET,
  type Uses,
} from './use.ts';
import { isAlive, type Lifetime, type QemuVersion } from './version.ts';

/** Every capability of QEMU 5.1 to 10.2, off by default. Plain data, like PARAMETERS. */
export interface Capability extends Lifetime, Uses {
  /** Does not set an option, but acts: where. */
  readonly actsIn?: string;
  readonly about: string;
}

/** In the order of QEMU's answer. */
export const CAPABILITIES = {
  xbzrle: {
    since: '1.2',
    source: 'xbzrle',
    about: 'a page that was sent before is sent as its changes',
  },
  'rdma-pin-all': {
    since: '2.0',
    source: NO_RDMA,
    destination: NO_RDMA,
    about: 'pins all guest RAM for RDMA',
  },
  'auto-converge': {
    since: '1.6',
    source: 'autoConverge',
    about: "throttles the guest's vCPUs until the migration converges",
  },
  'zero-blocks': {
    since: '1.6',
    source: NO_BLOCK,
    about: 'zero blocks of disks are sent as such',
  },
  compress: {
    since: '2.4',
    removed: '9.1',
    source: 'compress',
    destination: 'compress',
    about: 'threads compress the pages of the main channel',
  },
  events: {
    since: '2.4',
    actsIn: 'the monitor',
    about: 'MIGRATION and MIGRATION_PASS are sent',
  },
  'postcopy-ram': {
    since: '2.6',
    source: NO_POSTCOPY,
    destination: NO_POSTCOPY,
    about: 'the guest may go on at the destination before its RAM is there',
  },
  'x-colo': {
    since: '2.8',
    source: NO_COLO,
    destination: NO_COLO,
    about: 'the destination follows the source in lock-step',
  },
  'release-ram': {
    since: '2.9',
    source: 'releaseRam',
    about: 'the source frees RAM that has been sent, in postcopy alone',
  },
  block: {
    since: '2.10',
    removed: '9.1',
    source: NO_BLOCK,
    about: 'the contents of disks are migrated as well',
  },
  'return-path': {
    since: '2.10',
    source: 'returnPath',
    about: 'the destination answers; without it the source does not learn how the migration ended',
  },
  'pause-before-switchover': {
    since: '2.11',
    source: 'pauseBeforeSwitchover',
    about: 'waits for migrate-continue before the device state is sent',
  },
  multifd: {
    since: '4.0',
    source: 'multifd',
    destination: 'multifd',
    about: 'pages travel on channels of their own, the same on both sides',
  },
  'dirty-bitmaps': {
    since: '2.12',
    source: NO_BITMAPS,
    destination: NO_BITMAPS,
    about: 'dirty bitmaps of disks are migrated',
  },
  'postcopy-blocktime': {
    since: '3.0',
    destination: NO_POSTCOPY,
    about: 'measures how long vCPUs wait for pages in postcopy',
  },
  'late-block-activate': {
    since: '3.0',
    // As in QEMU 10: on or off, it is done so. `IncomingGuest.start` takes the disks.
    actsIn: 'every destination',
    about: 'the destination takes the disks only when its guest starts, which it always does',
  },
  'x-ignore-shared': {
    since: '4.0',
    source: 'ignoreShared',
    destination: 'ignoreShared',
    about: 'RAM that both sides share is not sent',
  },
  'validate-uuid': {
    since: '4.2',
    source: 'validateUuid',
    about: "the destination compares the guest's UUID with its own",
  },
  'background-snapshot': {
    since: '6.0',
    source: 'backgroundSnapshot',
    about: 'RAM and devices as they are at the start, while the guest runs on',
  },
  'zero-copy-send': {
    since: '7.1',
    source: NO_ZERO_COPY,
    about: 'the kernel sends pages from where they lie',
  },
  'postcopy-preempt': {
    since: '7.1',
    source: NO_POSTCOPY,
    destination: NO_POSTCOPY,
    about: 'pages that are asked for travel on a channel of their own in postcopy',
  },
  'switchover-ack': {
    since: '8.1',
    source: 'switchoverAck',
    destination: 'switchoverAck',
    about: 'the source waits for the word that the destination is ready for the switch-over',
  },
  'dirty-limit': {
    since: '8.1',
    source: 'dirtyLimit',
    about: 'slows down only the vCPUs that write too fast',
  },
  'mapped-ram': {
    since: '9.0',
    source: 'mappedRam',
    destination: NOT_YET,
    about: 'every page at a fixed place of a file',
  },
} as const satisfies Record<string, Capability>;

export type CapabilityName = keyof typeof CAPABILITIES;

/** The capabilities that QEMU `version` has, in the order of its answer. */
export function capabilitiesOf(version: QemuVersion): [CapabilityName, Capability][] {
  const all = Object.entries(CAPABILITIES) as [CapabilityName, Capability][];
  return all.filter(([, capability]) => isAlive(capability, version));
}
