import { MigrationError } from '../error.ts';
import type { SourceLink } from './link.ts';
import type { MainStreamWriter } from './main-stream.ts';
import { Pacer } from './pacer.ts';
import { PageFlow } from './page-flow.ts';
import type { OutgoingParts, SourceControl, SourceStream } from './parts.ts';

/**
 * Opens what works beside the main channel, and sends the setup sections of precopy behind the stream's header. From
 * here on the guest's writes are logged.
 */
export async function setUp(
  control: SourceControl,
  parts: OutgoingParts,
  link: SourceLink,
  begun: Pick<SourceStream, 'ram' | 'throttle' | 'switches'> & { readonly stream: MainStreamWriter },
): Promise<SourceStream> {
  const { live, signal, stats, guest } = control;
  const { ram, throttle, stream, switches } = begun;
  const channel = link.channel!;
  // The header is on its way before the channels connect: a destination may wait for it to tell the
  // main channel from the others.
  const blocks = ram.blocks.map((block) => block.toMemory());
  await link.open(blocks, stream.places(ram.blocks));
  signal.throwIfAborted();
  if (live.returnPath && channel.duplex) link.openReturnPath(stream);
  else if (live.switchoverAck) {
    throw new MigrationError(
      'bad-option',
      'switchover-ack needs a return path, which this transport has not',
    );
  }

  const { sender, compressThreads, returnPath } = link;
  const pacer = new Pacer(live);
  const flow = new PageFlow({
    ram,
    channel,
    stream,
    switches,
    pacer,
    sender,
    mainPages: sender ? undefined : parts.createMainPages?.(channel, ram.blocks),
    live,
    compressThreads,
    signal,
    wireBytes: () => stats.wireBytes(),
  });
  stats.follow({ ram, flow, pacer, throttle }, guest.running);
  ram.start();
  await flow.writeStart(parts.guest.earlySections ?? []);
  return { channel, stream, sender, returnPath, switches, ram, pacer, throttle, flow };
}
