/** Where the frames of a guest's NIC go, on this host. */
export interface NetworkBackend {
  /** Sends one Ethernet frame. Like a cable it promises nothing: what cannot be sent is lost. */
  send(frame: Uint8Array): void;
  close(): Promise<void>;
}
