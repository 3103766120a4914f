/** The offsets of a header's fields in bytes (SPEC.md section 3). Imported as `at`. */
export const algorithm = 4;
export const flags = 6;
export const source = 7;
export const type = 9;
export const keyId = 10;
export const salt = 42;
export const iterations = 74;
