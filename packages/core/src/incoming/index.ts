export type { PageConnection } from './channel-set.ts';
export { IncomingMigration, type IncomingParts } from './incoming.ts';
