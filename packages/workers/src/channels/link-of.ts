import type { ChannelLink } from '../codecs/channel-link.ts';
import type { PoolWords } from './pool-words.ts';

/** What a sending channel tells its compressor. @param progress absent where the kernel is not asked */
export function linkOf(words: PoolWords, channels: number, progress?: ChannelLink['progress']): ChannelLink {
  return {
    // It changes while the channel runs.
    get limitBytesPerMs() {
      return words.limitBytesPerMs;
    },
    channels,
    sentBytes: () => words.sentBytes,
    price: words.price,
    ...(progress && { progress }),
  };
}
