/**
 * The one error class of pageferry. Everything that goes wrong on the way from one guest's RAM to the
 * other's is a `MigrationError` with a code of the closed list below, so that a caller can act on the
 * code and a person can act on the message.
 */

/** Every code that a MigrationError can carry, with what it stands for. */
export const ERROR_CODES = {
  // What the caller asked for.
  'bad-option': 'an option has a value that is not allowed, or options contradict each other',
  'bad-uri': 'a migration URI cannot be parsed',
  'bad-state': 'what was asked for is not possible in the state that the migration is in',
  blocked: 'the guest, or a device of it, does not let itself be migrated now',
  unsupported: 'a feature of the protocol that pageferry does not do (yet), by name',
  // Connections.
  'connect-failed': 'the peer cannot be reached',
  'connect-timeout': 'the peer did not answer the connection attempt in time',
  'listen-failed': 'the address cannot be listened on',
  'channel-timeout': 'a channel that is owed did not come in time',
  'stall-timeout': 'no byte moved for too long while something was owed',
  'connection-lost': 'the connection broke (reset, write after close)',
  truncated: 'the stream ended in the middle',
  // The main stream.
  'bad-magic': 'the first bytes are not those of a migration stream or channel',
  'bad-version': 'a version field has a value that is not supported',
  'bad-configuration': 'the configuration section is malformed or disagrees with what is expected',
  'unknown-section': 'a section type, section id or section name that is not known here',
  'bad-section': 'a section is malformed: footer, version, length',
  'bad-command': 'a command is unknown or has the wrong length',
  'unknown-flag': 'a RAM word has flags that are not known or not allowed here',
  'unknown-block': 'a RAM block that is not in the block list',
  'bad-page': 'a page outside its block, unaligned, or before any block was named',
  'block-mismatch': 'the block lists of both sides disagree (name, size, page size)',
  'limit-exceeded': 'a count or length from the peer is above its limit',
  'bad-device-state': 'the device sections or their description are malformed',
  'bad-return-path': 'a malformed or unexpected return-path message',
  // Multifd channels.
  'bad-packet': 'a multifd packet header is malformed or disagrees with the configuration',
  'compression-mismatch': 'the peer uses another compression method',
  'bad-compressed-data': 'compressed data cannot be decompressed to exactly its pages',
  'too-many-channels': 'more channels arrived than configured',
  'missing-channel': 'fewer channels than the peer waits for',
  'duplicate-channel': 'a channel id arrived twice',
  'bad-channel-id': 'a channel id outside the configured range',
  'uuid-mismatch': 'the guest UUID is not the expected one',
  'sync-mismatch': 'the sync points of channels and main stream disagree',
  // Files.
  'file-failed': 'a file cannot be read or written',
  'bad-file': 'a capture file is not in a format known here, or is damaged',
  // Control.
  'bad-qmp': 'the server of a QMP connection sent something that is no QMP',
  // The other side and the guest.
  'destination-failed': 'the destination reported failure, or went away before it reported success',
  'source-failed': 'the source gave up',
  'guest-failed': 'the guest (its device state, its start or its stop) failed',
  'verify-failed': 'the guest is not the same after the move',
  'worker-failed': 'a worker thread died',
  cancelled: 'cancelled by the caller',
  internal: 'a defect of pageferry',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/** The part of a migration in which an error happened. */
export type ErrorPhase = 'setup' | 'connect' | 'active' | 'switchover' | 'device' | 'completed' | 'file';

export interface MigrationErrorDetails {
  /** The part of the migration; filled in by the engine when the thrower does not know it. */
  phase?: ErrorPhase;
  /** Whether the same migration may work when tried again unchanged. */
  retryable?: boolean;
  /** Channel by name: `main`, `return-path`, `multifd 0`, or a file's path. */
  channel?: string;
  /** Byte offset in that channel, counted from its first byte. */
  offset?: number;
  found?: string;
  expected?: string;
  cause?: unknown;
}

/**
 * An error of a migration: `code` says which kind, the message what was found, what was expected, and at
 * which byte of which channel.
 */
export class MigrationError extends Error {
  readonly code: ErrorCode;
  phase: ErrorPhase | undefined;
  readonly retryable: boolean;
  channel: string | undefined;
  readonly offset: number | undefined;
  readonly found: string | undefined;
  readonly expected: string | undefined;

  constructor(code: ErrorCode, message: string, details: MigrationErrorDetails = {}) {
    super(describe(message, details), details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'MigrationError';
    this.code = code;
    this.phase = details.phase;
    this.retryable = details.retryable ?? RETRYABLE.has(code);
    this.channel = details.channel;
    this.offset = details.offset;
    this.found = details.found;
    this.expected = details.expected;
  }

  /** This error if it names a channel, otherwise the same one with a place. */
  at(place: { channel: string; offset?: number }): MigrationError {
    if (this.channel !== undefined) return this;
    const { code, phase, retryable, found, expected } = this;
    const located = new MigrationError(code, '', {
      phase,
      retryable,
      found,
      expected,
      cause: this,
      ...place,
    });
    located.message = describe(this.message, place);
    return located;
  }

  /** A plain object that survives structured clone and JSON; `fromPlain` is the way back. */
  toPlain(): PlainMigrationError {
    return {
      code: this.code,
      message: this.message,
      phase: this.phase,
      retryable: this.retryable,
      channel: this.channel,
      offset: this.offset,
      found: this.found,
      expected: this.expected,
    };
  }

  static fromPlain(plain: PlainMigrationError): MigrationError {
    const { message, ...details } = plain;
    const error = new MigrationError(plain.code, '', details);
    error.message = message;
    return error;
  }

  /** `error` itself if it is a MigrationError, otherwise one with `code` around it. */
  static from(error: unknown, code: ErrorCode, details: MigrationErrorDetails = {}): MigrationError {
    if (error instanceof MigrationError) return error;
    const message = error instanceof Error ? error.message : String(error);
    return new MigrationError(code, message, { cause: error, ...details });
  }
}

export interface PlainMigrationError extends MigrationErrorDetails {
  code: ErrorCode;
  message: string;
}

const RETRYABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'connect-failed',
  'connect-timeout',
  'channel-timeout',
  'stall-timeout',
  'connection-lost',
  'truncated',
  'cancelled',
]);

function describe(message: string, details: MigrationErrorDetails): string {
  let text = message;
  if (details.found !== undefined) text += `: found ${details.found}`;
  if (details.expected !== undefined)
    text += `${details.found === undefined ? ':' : ','} expected ${details.expected}`;
  if (details.channel !== undefined || details.offset !== undefined) {
    const at = details.offset === undefined ? '' : `at byte ${details.offset} `;
    text += ` (${at}of ${details.channel ?? 'the stream'})`;
  }
  return text;
}
