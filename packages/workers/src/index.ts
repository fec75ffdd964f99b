export type { Migration } from './engine/coordinator.ts';
export { type Engine, type EngineOptions, prepareEngine } from './engine/engine.ts';
export { migrate, type RunOptions } from './migrate.ts';
export { openNetworkBackend } from './network/open-network.ts';
export { type Reception, receive } from './receive.ts';
export { useHugePages } from './system/huge-pages.ts';
