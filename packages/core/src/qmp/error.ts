/** The classes of QMP's errors. */
export type QmpErrorClass =
  | 'GenericError'
  | 'CommandNotFound'
  | 'DeviceNotActive'
  | 'DeviceNotFound'
  | 'KVMMissingCap';

/** The error answer to a QMP command: thrown by a server's command, and at the client's side. */
export class QmpError extends Error {
  readonly class: string;
  /** What the server said, for people. */
  readonly desc: string;

  /** @param command named in front of the message where the client knows it */
  constructor(desc: string, errorClass: QmpErrorClass | (string & {}) = 'GenericError', command?: string) {
    super(command === undefined ? desc : `${command}: ${errorClass}: ${desc}`);
    this.name = 'QmpError';
    this.class = errorClass;
    this.desc = desc;
  }
}
