/**
 * The package's own wrapper takes a level and drops it (1.2.2), so that every frame has level 3; the module
 * below it, which has no types, takes it.
 */
declare module '@mongodb-js/zstd/bindings.js' {
  export function compress(data: Buffer, level: number): Promise<Buffer>;
}
