export { QmpClient, type QmpClientOptions } from './client.ts';
export { QmpError, type QmpErrorClass } from './error.ts';
export { type QmpCommand, QmpServer, type QmpServerOptions } from './server.ts';
export * from './types.ts';
