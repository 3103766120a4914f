/**
 * Encrypted values as React state.
 *
 * @packageDocumentation
 */
export { type EncryptedValue, useEncryptedStorage } from './useEncryptedStorage.js';
