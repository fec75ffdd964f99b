const SAMPLE_BYTES = 1024;
/** Random bytes give 1 here, and this sample of them less than 1.1. */
const LEAST_UNEVEN = 1.2;

const counts = new Uint16Array(256);

/**
 * Whether a sample of the bytes is spread as evenly as random ones, as those of compressed or encrypted data are:
 * some microseconds, a hundredth of what trying to compress costs.
 */
export function looksRandom(bytes: Uint8Array): boolean {
  counts.fill(0);
  const step = Math.max(1, Math.floor(bytes.length / SAMPLE_BYTES));
  // An odd stride meets every byte of a word.
  const stride = step % 2 === 0 ? step + 1 : step;
  let taken = 0;
  for (let at = 0; at < bytes.length; at += stride) {
    counts[bytes[at]!]!++;
    taken++;
  }
  let squares = 0;
  for (let value = 0; value < 256; value++) squares += counts[value]! ** 2;
  return squares < LEAST_UNEVEN * taken * (1 + taken / 256);
}
