/** What a channel can tell its compressor about its link. */
export interface ChannelLink {
  /** `max-bandwidth` as it is now: what all channels may send together, bytes per ms; absent: no limit. */
  readonly limitBytesPerMs?: number | undefined;
  /** How many channels share the limit. */
  readonly channels: number;
  /** Bytes that all channels together have sent. */
  sentBytes(): number;
  /** What the channels under the limit have agreed on. */
  readonly price: LinkPrice;
  /**
   * What the channel's connection has done since it was made, as the kernel tells: into `into`, so that nothing
   * is allocated. Returns false where the kernel does not tell; absent where it never does.
   */
  progress?(into: LinkProgress): boolean;
}

/**
 * What a byte on the wire is worth to all channels that share a limit: where it lies among the codecs (CodecHull).
 * One for all, or some would compress hard so that others need not at all, which costs more than both halfway.
 */
export interface LinkPrice {
  /** Undefined until it was set. */
  position: number | undefined;
  /** Several may at the same time. */
  move(by: number): void;
}

/** Both grow from 0. */
export interface LinkProgress {
  /** How long bytes were on their way or waited for the link, not counting waits for the receiver, ms. */
  busyMs: number;
  /** Bytes that have arrived at the other side. */
  arrivedBytes: number;
}
