/** What iterable sections other than `ram` carry, for the refusal; undefined for a name that is not known. */
export function refusedIterable(idstr: string): string | undefined {
  if (idstr === 'block') return 'block migration (section block)';
  if (idstr === 'dirty-bitmap') return 'dirty-bitmap migration (section dirty-bitmap)';
  if (idstr.endsWith('/vfio')) return `migration of VFIO devices (section ${idstr})`;
  return undefined;
}
