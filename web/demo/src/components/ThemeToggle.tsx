import { useLayoutEffect, useState } from 'react';
import { Icon, type IconName } from './Icon.js';

const themes = ['system', 'light', 'dark'] as const;
type Theme = (typeof themes)[number];

const icons: Record<Theme, IconName> = { system: 'system', light: 'light', dark: 'dark' };

/** Chooses a light or dark theme, or that of the system. The choice is not sensitive, so it is stored in localStorage as plaintext. */
export function ThemeToggle() {
  const [theme, setTheme] = useState<Theme>(kept);
  useLayoutEffect(() => {
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem('theme', theme);
    } catch {
      // Without localStorage the theme applies until the page is closed.
    }
  }, [theme]);
  const next = themes[(themes.indexOf(theme) + 1) % themes.length] ?? 'system';
  return (
    <button
      type="button"
      className="button quiet icon-button"
      onClick={() => setTheme(next)}
      aria-label={`Theme: ${theme}. Change to ${next}.`}
      title={`Theme: ${theme}`}
    >
      <Icon name={icons[theme]} />
    </button>
  );
}

function kept(): Theme {
  try {
    return themes.find((theme) => theme === localStorage.getItem('theme')) ?? 'system';
  } catch {
    return 'system';
  }
}
