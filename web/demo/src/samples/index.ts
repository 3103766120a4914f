import { ctSample } from './ct.js';
import { ecgSample } from './ecg.js';
import { patientSample } from './patient.js';

/** Files made in code, so that the demo works with none at hand. */
export const samples: readonly { label: string; what: string; make: () => File | Promise<File> }[] =
  [
    { label: 'CT slice', what: 'DICOM', make: ctSample },
    { label: 'Patient', what: 'FHIR', make: patientSample },
    { label: 'ECG strip', what: 'PNG', make: ecgSample },
  ];
