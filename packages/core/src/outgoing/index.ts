export { OutgoingMigration, type OutgoingParts } from './outgoing.ts';
export type { ProtocolSwitches } from './switches.ts';
