package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/coffer-storage/coffer/shared/codes"
)

// measureInterval is how often the files are looked at, which other processes write as well.
const measureInterval = 10 * time.Second

var (
	errBudget = fmt.Errorf("%w: it has used up its budget: raise the budget, or keep fewer files", ErrUnavailable)
	// ErrAlmostFull means that the log has used 80 % of its budget.
	ErrAlmostFull = &codes.Error{Of: "audit_almost_full", Text: "the audit log has used 80 % of its budget: raise the budget, or keep fewer files"}
)

// usage is how much of the budget is used.
type usage uint8

const (
	roomy usage = iota
	almostFull
	full
)

// Size returns the bytes of the log's files, by all processes and at most ten seconds old, and the budget for them. A
// budget of zero means no limit.
func (f *File) Size() (bytes, budget int64) { return f.size.Load(), f.options.Budget }

// HasRoom returns ErrAlmostFull if 80 % of the budget are used.
func (f *File) CheckBudget(context.Context) error {
	if f.used() >= almostFull {
		return ErrAlmostFull
	}
	return nil
}

func (f *File) used() usage {
	switch bytes, budget := f.Size(); {
	case budget == 0 || bytes < budget/5*4:
		return roomy
	case bytes < budget:
		return almostFull
	}
	return full
}

// fit returns the events that the budget has room for. Beyond it, administration is still recorded, so that an operator can
// act; refusals are only counted; and for the use of keys the policy for failures applies.
func (f *File) fit(events []Event) ([]Event, error) {
	if f.used() < full {
		return events, nil
	}
	var fitting []Event
	refusals, uses := 0, 0
	for i := range events {
		switch e := &events[i]; {
		case e.Action == AccessRefused:
			refusals++
		case e.Action.kind >= notable || e.unrecorded():
			fitting = append(fitting, *e)
		default:
			uses++
		}
	}
	if f.options.OnLost != nil && refusals > 0 {
		f.options.OnLost(refusals)
	}
	if uses > 0 {
		if err := f.lose(uses, errBudget); err != nil {
			return nil, err
		}
	}
	return fitting, nil
}

// measure adds up the sizes of all files.
func (f *File) measure() error {
	chains, err := listChains(f.dir)
	if err != nil {
		return err
	}
	var sum int64
	for _, chain := range chains {
		files, err := listFiles(f.dir, chain, 0)
		if err != nil {
			return err
		}
		for _, one := range files {
			sum += one.size
		}
	}
	f.size.Store(sum)
	return nil
}

// watchBudget measures the log from time to time, and writes to the server's log when it comes near the budget.
func (k *keeper) watchBudget() {
	if time.Since(k.measured) >= measureInterval {
		if err := k.measure(); err != nil {
			k.options.Log.Error("the size of the audit log cannot be measured", "error", err)
		}
		k.measured = time.Now()
	}
	use := k.used()
	if use == k.use {
		return
	}
	bytes, budget := k.Size()
	switch k.use = use; use {
	case almostFull:
		k.options.Log.Warn("the audit log has used 80 % of its budget: raise the budget, or keep fewer files", "bytes", bytes, "budget", budget)
	case full:
		k.options.Log.Error("the audit log has used up its budget: raise the budget, or keep fewer files", "bytes", bytes, "budget", budget)
	default:
		k.options.Log.Info("the audit log has room again", "bytes", bytes, "budget", budget)
	}
}
