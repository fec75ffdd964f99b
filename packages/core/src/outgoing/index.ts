export { releaseThrottle } from './guest-throttle.ts';
export { type MainPageWriter, RECORD_BODY_LIMIT_BYTES } from './main-pages.ts';
export { OutgoingMigration } from './outgoing.ts';
export type { OutgoingParts } from './parts.ts';
export type { ProtocolSwitches } from './switches.ts';
