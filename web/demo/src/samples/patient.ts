/** A fictitious FHIR Patient (HL7 FHIR R4). */
const patient = {
  resourceType: 'Patient',
  id: 'demo-0417',
  active: true,
  identifier: [{ use: 'usual', system: 'urn:example:coffer-demo', value: 'DEMO-0417' }],
  name: [{ use: 'official', family: 'Lindqvist', given: ['Marta', 'Elin'] }],
  gender: 'female',
  birthDate: '1968-03-09',
  telecom: [
    { system: 'phone', value: '+00 555 0117', use: 'home' },
    { system: 'email', value: 'marta.lindqvist@example.org' },
  ],
  address: [
    {
      use: 'home',
      line: ['14 Harbour Lane'],
      city: 'Nordhamn',
      postalCode: '00417',
      country: 'Example Land',
    },
  ],
  maritalStatus: { text: 'Married' },
  contact: [
    { relationship: [{ text: 'Spouse' }], name: { family: 'Lindqvist', given: ['Jonas'] } },
  ],
  communication: [{ language: { text: 'Swedish' }, preferred: true }],
  generalPractitioner: [{ display: 'Dr. A. Example, Harbour Practice' }],
};

export function patientSample(): File {
  return new File([JSON.stringify(patient, null, 2)], 'patient-lindqvist.json', {
    type: 'application/fhir+json',
  });
}
