import { ctSample } from './ct.js';
import { ecgSample } from './ecg.js';
import { patientSample } from './patient.js';

/** Generated files, so that visitors can try the demo without a file of their own. */
export const samples: readonly { label: string; what: string; make: () => File | Promise<File> }[] =
  [
    { label: 'CT slice', what: 'DICOM', make: ctSample },
    { label: 'Patient', what: 'FHIR', make: patientSample },
    { label: 'ECG strip', what: 'PNG', make: ecgSample },
  ];
