/** Something that the demo itself cannot do, with a code of its own beside Coffer's. */
export class DemoError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}
