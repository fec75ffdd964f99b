import type { MigrateOptions, ReceiveOptions } from '../options.ts';

/**
 * What a parameter or capability does in pageferry, per side: the name of the option that it sets, or why it
 * is refused. Absent: nothing on this side, in QEMU as well; it can be set and is told when asked for.
 */
export interface Uses {
  readonly source?: keyof MigrateOptions | Refusal;
  readonly destination?: keyof ReceiveOptions | Refusal;
}

export type Side = keyof Uses;

/** Refused by name when it is set to anything but its default. */
export interface Refusal {
  readonly refused: string;
}

export const NOT_YET: Refusal = { refused: 'is not supported yet' };
const refused = (why: string): Refusal => ({ refused: why });

export const NO_POSTCOPY = refused('is not supported: there is no postcopy');
export const NO_TLS = refused('is not supported: there is no TLS');
export const NO_COLO = refused('is not supported: there is no COLO');
export const NO_BLOCK = refused('is not supported: disks are not migrated');
export const NO_BITMAPS = refused('is not supported: dirty bitmaps of disks are not migrated');
export const NO_RDMA = refused('is not supported: there is no RDMA transport');
export const NO_ZERO_COPY = refused('is not supported: pages are copied to the kernel');
export const NO_CPR = refused('is not supported: there is no checkpoint and restart');
export const NO_DIRECT_IO = refused('is not supported: files are written through the page cache');
export const NO_QATZIP = refused('is not supported: there is no QATzip');

export function isRefusal(use: string | Refusal | undefined): use is Refusal {
  return typeof use === 'object';
}
