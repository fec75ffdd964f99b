import { TARGET_PAGE_BYTES } from '@pageferry/core/memory';
import {
  createMultifdPacket,
  MULTIFD_PACKET_BYTES,
  MULTIFD_PAGES_PER_PACKET,
  MULTIFD_PAYLOAD_LIMIT_BYTES,
  type MultifdPacket,
} from '@pageferry/core/wire';

/** What one packet needs from its job until its last byte is in the kernel's hands. */
export class PacketSlot {
  readonly packet: MultifdPacket = createMultifdPacket();
  readonly header = Buffer.alloc(MULTIFD_PACKET_BYTES);
  busy = false;
  #pages: Buffer | undefined;
  #target: Uint8Array | undefined;

  /** A copy of the packet's pages; a byte longer, since `Buffer.copy` of a whole buffer takes a slower way. */
  get pages(): Buffer {
    this.#pages ??= Buffer.alloc(MULTIFD_PAGES_PER_PACKET * TARGET_PAGE_BYTES + 1);
    return this.#pages;
  }

  /** Room for a compressed payload. */
  get target(): Uint8Array {
    this.#target ??= new Uint8Array(MULTIFD_PAYLOAD_LIMIT_BYTES);
    return this.#target;
  }
}
