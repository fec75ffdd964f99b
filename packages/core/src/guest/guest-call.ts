import { MigrationError } from '../error.ts';

/** The result of a guest's own call; what it throws, as one of ours. @throws MigrationError `guest-failed` */
export async function guestCall<T>(call: Promise<T>, what: string): Promise<T> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof MigrationError) throw error;
    const text = error instanceof Error ? error.message : String(error);
    throw new MigrationError('guest-failed', `the guest ${what}: ${text}`, { cause: error });
  }
}
