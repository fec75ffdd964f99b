/**
 * The URL of a worker's entry module next to the caller: `.ts` when running from source, `.js` when running
 * from `dist` (tsc rewrites import specifiers but not URLs).
 *
 * @param base `import.meta.url` of the caller
 * @param name path relative to the caller, without extension, such as `./channel-worker`
 */
export function workerEntry(base: string, name: string): URL {
  return new URL(`${name}${base.endsWith('.ts') ? '.ts' : '.js'}`, base);
}
