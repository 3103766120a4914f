export { loading } from './loading.js';
export { sealing } from './sealing.js';
export { storing } from './storing.js';
