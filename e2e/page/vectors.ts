export * from './bytes.js';
export * from './documents.js';
export * from './packages.js';
