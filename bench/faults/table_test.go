package faults

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// writeTable writes the matrix as a page of the documentation.
func writeTable(path string, rows []*row, damages []*damage) error {
	var b strings.Builder
	b.WriteString(`# What happens when something fails

` + "`make faults`" + ` writes this page. It starts a server, lets eight clients write, read and delete entries, injects a fault, heals it, and
reads every key. The request timeout is 2 s. A write counts as acknowledged if the server answered it with 204. "No answer" means
that the connection ended or was refused. "Dropped by the store" means that the server could not keep the entries: an evicting or empty
Redis, a clock behind which entries have expired, or a file system that stopped before it had written what it had accepted, as in a
power cut. The cache does not wait for the disk; the keys, the tokens and the notable lines of the audit log do.

| fault | requests during the fault | acknowledged writes lost | /readyz | metrics | log | works again after |
|---|---|---|---|---|---|---|
`)
	for _, r := range rows {
		lost := fmt.Sprintf("%d of %d keys", r.lost, r.acked)
		if r.drops {
			lost += " (dropped by the store)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", r.name, counts(r.answers), lost, list(r.ready, "ready"), list(r.metrics, "-"),
			list(r.logged, "-"), r.recovered.Round(100*time.Millisecond))
	}
	b.WriteString(`
## Flipped bits

Each line is one file of a data directory. While no server runs, one bit at a random place is flipped. Then a server starts, all entries are
read one by one and as a list, and ` + "`coffer audit verify`" + ` runs. "Harmless" means that every value was read as it was written and that
nothing was reported; "silent" would mean that a value was wrong or missing without a report.

| file | places | start refused | reported | harmless | silent |
|---|---|---|---|---|---|
`)
	for _, d := range damages {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d |\n", d.file, d.places, d.refused, d.reported, d.harmless, len(d.silent))
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

func counts(n map[string]int) string {
	var parts []string
	for _, code := range slices.SortedFunc(maps.Keys(n), func(a, b string) int { return n[b] - n[a] }) {
		parts = append(parts, fmt.Sprintf("%d %s", n[code], code))
	}
	return strings.Join(parts, ", ")
}

func list(items []string, none string) string {
	if len(items) == 0 {
		return none
	}
	return strings.ReplaceAll(strings.Join(items, "; "), "|", "\\|")
}
