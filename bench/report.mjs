// The table that `make bench` prints.

/** Reports whether a result is within its budget. A result without a budget always is. */
export function met({ ratio, budget, higher_is_better }) {
  return budget === null || (higher_is_better ? ratio >= budget : ratio <= budget);
}

export function printTable(results) {
  const rows = results.map((r) => [
    r.name,
    format(r.ratio),
    budgetOf(r),
    verdict(r),
    r.unit,
    r.detail,
  ]);
  const header = ['what', 'measured', 'budget', '', 'unit', 'median of one operation'];
  const widths = header.map((title, i) =>
    Math.max(title.length, ...rows.map((row) => row[i].length)),
  );
  for (const row of [header, ...rows])
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    );
  const missed = results.filter((r) => !met(r));
  const budgeted = results.filter((r) => r.budget !== null).length;
  console.log(
    `\n${budgeted - missed.length} of ${budgeted} budgets met${missed.length ? `; missed: ${missed.map((r) => r.name).join(', ')}` : ''}`,
  );
}

const format = (n) => (n >= 100 ? n.toFixed(1) : n.toFixed(2));
const budgetOf = ({ budget, higher_is_better }) =>
  budget === null ? '-' : `${higher_is_better ? '>=' : '<='} ${budget}`;
const verdict = (r) => (r.budget === null ? '' : met(r) ? 'met' : 'MISSED');
