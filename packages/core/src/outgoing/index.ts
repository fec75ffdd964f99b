export type { MainPageWriter } from './main-pages.ts';
export { OutgoingMigration, type OutgoingParts } from './outgoing.ts';
export type { ProtocolSwitches } from './switches.ts';
