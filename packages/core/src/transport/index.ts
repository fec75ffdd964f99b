export type { ByteChannel, SeekableChannel } from './byte-channel.ts';
export { type ConnectChannelOptions, type ConnectOptions, connect, connectSocket } from './connect.ts';
export { within } from './limits.ts';
export { listen } from './listen.ts';
export type { AcceptedChannel, Listener, ListenOptions } from './listener.ts';
export { formatUri, type MigrationAddress, parseUri, type SocketAddress } from './uri.ts';
