/**
 * How a channel's thread waits for its socket: in the kernel, which is faster, or in the event loop, which
 * works everywhere. `blocking` falls back to the event loop where the system calls are missing.
 */
export type ChannelIo = 'blocking' | 'event-loop';
