import type { Beat } from './heartbeat.ts';
import type { Mode } from './modes.ts';

/** How a migration is made, the same for both engines. */
export interface Setting extends Pick<Mode, 'multifd' | 'compression' | 'level' | 'xbzrle'> {
  readonly channels: number;
  /** Into a mapped-ram file. */
  readonly mappedRam: boolean;
}

/** What the source says of a migration that is over. */
export interface SourceReport {
  /** From the command to the word that it is over, seen from outside. */
  readonly wallMs: number;
  /** The source's own total. */
  readonly totalMs: number;
  readonly setupMs: number;
  readonly downtimeMs: number;
  readonly transferredBytes: number;
}

/** A process whose guest is there, touched, and waits for the command to migrate. */
export interface SourceSide extends AsyncDisposable {
  readonly pid: number;
  /** Migrates and waits for the end. */
  migrate(uri: string): Promise<SourceReport>;
}

/** A process that listens, its RAM touched. */
export interface DestinationSide extends AsyncDisposable {
  readonly pid: number;
  readonly uri: string;
  /** Resolves when it has the whole guest. */
  arrived(): Promise<void>;
}

/** The destination of a guest that stands still, whose memory must be that of the image afterwards. */
export interface ComparableSide extends DestinationSide {
  /** The first byte of RAM that is not the image's, or -1. */
  difference(rawPath: string): Promise<number>;
}

/** A guest whose heartbeat is being watched. */
export interface WatchedSide {
  /** Ends the watching. */
  beats(): Promise<Beat[]>;
}

/** How the running guest works. */
export interface HeartbeatGuest {
  readonly memoryBytes: number;
  /** 0: it has its heartbeat alone. */
  readonly dirtyRateBytesPerSecond: number;
  readonly workingSetBytes: number;
}

/** The name of a PC's RAM block. */
export const RAM_BLOCK = 'pc.ram';

/** Beats a second of both engines' guests. */
export const BEATS_PER_SECOND = 500;

/** Milliseconds that a guest may stand still at the switch-over, QEMU's default. */
export const DOWNTIME_LIMIT_MS = 300;
