/**
 * Encrypted storage for the browser over IndexedDB ({@link createEncryptedStorage}), and packages of the same format
 * without storage ({@link EncryptionService}). Importing this module has no effects; the first call that needs the
 * WebAssembly core loads it.
 *
 * @packageDocumentation
 */
export { DataClassification } from './core/classification.js';
export type { Code } from './core/codes.gen.js';
export type { CoreSource } from './core/core.js';
export {
  CofferError,
  EnvironmentError,
  InputError,
  IntegrityError,
  KeyError,
  StorageError,
} from './core/errors.js';
export type { Metadata, Use } from './crypto/header.js';
export type { EncryptedPackage } from './crypto/json.js';
export type { Context, Place } from './crypto/sealer.js';
export {
  type DecryptOptions,
  type EncryptOptions,
  EncryptionService,
  type PackageOptions,
  type ServiceOptions,
} from './service/service.js';
export { EncryptedStorage, type Inspection } from './storage/storage.js';
export type { Unlock, UnlockSecret } from './unlock/secret.js';
export type { Json, StoredValue } from './crypto/values.js';
export {
  type Configuration,
  type StorageOptions,
  configure,
  createEncryptedStorage,
  defaultStorage,
  getDecrypted,
  setEncrypted,
} from './storage/configure.js';
