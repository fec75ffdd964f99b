import { closeSync, openSync, writeSync } from 'node:fs';

/** File types as in `st_mode`. */
export const CpioType = { directory: 0o040000, character: 0o020000, file: 0o100000 } as const;

/**
 * Writes an initramfs in cpio's "newc" format. An entry:
 *
 *   "070701", then 13 fields of 8 hexadecimal digits: inode, mode, uid, gid, links, mtime, size of the data,
 *   device major and minor, major and minor of a device file, size of the name with its NUL, checksum (0);
 *   the name and a NUL, zeros up to a multiple of 4; the data, zeros up to a multiple of 4
 *
 * The last entry's name is "TRAILER!!!".
 */
export class CpioWriter implements Disposable {
  readonly #file: number;
  #inode = 0;

  constructor(path: string) {
    this.#file = openSync(path, 'w');
  }

  /** @param mode type and permissions @param device major and minor number of a device file */
  add(
    name: string,
    mode: number,
    data: Uint8Array = Buffer.alloc(0),
    device: [number, number] = [0, 0],
  ): void {
    const nameBytes = Buffer.from(`${name}\0`);
    this.#inode++;
    const fields = [this.#inode, mode, 0, 0, 1, 0, data.length, 0, 0, ...device, nameBytes.length, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
    this.#write(Buffer.concat([Buffer.from(header), nameBytes]));
    this.#write(data);
  }

  end(): void {
    this.add('TRAILER!!!', 0);
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }

  #write(bytes: Uint8Array): void {
    writeAll(this.#file, bytes);
    writeAll(this.#file, Buffer.alloc(-bytes.length & 3));
  }
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}
