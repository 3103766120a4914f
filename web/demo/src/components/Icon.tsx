/** Line icons on a grid of 24, drawn for this page. */
const paths = {
  coffer:
    'M4 11a5 5 0 0 1 5-5h6a5 5 0 0 1 5 5v7a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1zM4 12h5m6 0h5M12 10a2 2 0 1 1 0 4 2 2 0 0 1 0-4zm0 4v2',
  lock: 'M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3M12 14.5v2',
  value: 'M7 3h7l4 4v14H7zM14 3v4h4M10 12h5M10 16h5',
  classify: 'M4 11V4h7l9 9-7 7zM8 8h.01',
  seal: 'M12 3l7 3v5c0 4.5-3 8-7 10-4-2-7-5.5-7-10V6zM9 12l2.2 2.2L15.5 10',
  package: 'M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4M12 12v8',
  store:
    'M5 6c0-1.7 3.1-3 7-3s7 1.3 7 3-3.1 3-7 3-7-1.3-7-3zM5 6v12c0 1.7 3.1 3 7 3s7-1.3 7-3V6M5 12c0 1.7 3.1 3 7 3s7-1.3 7-3',
  dicom:
    'M4 4h16v16H4zM12 7v10M8 9c2 0 3 .7 4 1.5C13 9.7 14 9 16 9M8 13c2 0 3 .7 4 1.5 1-.8 2-1.5 4-1.5',
  fhir: 'M8 4h8v3H8zM8 5.5H5V21h14V5.5h-3M12 11v6M9 14h6',
  image: 'M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9h.01',
  file: 'M7 3h7l4 4v14H7zM14 3v4h4',
  add: 'M12 5v14M5 12h14',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  search: 'M11 5a6 6 0 1 1 0 12 6 6 0 0 1 0-12zM15.5 15.5L20 20',
  server: 'M4 5h16v6H4zM4 13h16v6H4zM8 8h.01M8 16h.01',
  system: 'M4 5h16v11H4zM9 20h6M12 16v4',
  light:
    'M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8zM12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6L7 7M17 17l1.4 1.4M5.6 18.4L7 17M17 7l1.4-1.4',
  dark: 'M19 14a8 8 0 1 1-9-9 6.5 6.5 0 0 0 9 9z',
  alert: 'M12 4l9 16H3zM12 10v4M12 17h.01',
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}
