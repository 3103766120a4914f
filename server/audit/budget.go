package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/coffer-storage/coffer/shared/codes"
)

// measureInterval is how often the size of the files is measured. Other processes write to the log as well, so counting
// this process's own writes is not enough.
const measureInterval = 10 * time.Second

var (
	errBudget = fmt.Errorf("%w: its budget is used up: raise the budget or keep fewer files", ErrUnavailable)
	// ErrAlmostFull reports that the log has used 80 % of its budget.
	ErrAlmostFull = &codes.Error{ErrorCode: "audit_almost_full", Message: "the audit log has used 80 % of its budget: raise the budget, or keep fewer files"}
)

// budgetUsage classifies the share of the budget that is used.
type budgetUsage uint8

const (
	usageLow budgetUsage = iota
	usageAlmostFull
	usageFull
)

// Size returns the size of the log's files in bytes and their budget in bytes. The size includes the files of all
// processes and is at most ten seconds old. A budget of 0 means no limit.
func (f *File) Size() (bytes, budget int64) { return f.size.Load(), f.options.Budget }

// CheckBudget returns ErrAlmostFull if at least 80 % of the budget is used.
func (f *File) CheckBudget(context.Context) error {
	if f.usage() >= usageAlmostFull {
		return ErrAlmostFull
	}
	return nil
}

func (f *File) usage() budgetUsage {
	switch bytes, budget := f.Size(); {
	case budget == 0 || bytes < budget/5*4:
		return usageLow
	case bytes < budget:
		return usageAlmostFull
	}
	return usageFull
}

// admitEvents returns the events that may be written. If the budget is used up, it still admits administrative events,
// so that an operator can act, only counts refusals, and treats the use of keys as a failure to record, to which
// Options.OnFailure applies.
func (f *File) admitEvents(events []Event) ([]Event, error) {
	if f.usage() < usageFull {
		return events, nil
	}
	var admitted []Event
	refusals, uses := 0, 0
	for i := range events {
		switch e := &events[i]; {
		case e.Action == AccessRefused:
			refusals++
		case e.Action.kind >= notable || e.isIgnored():
			admitted = append(admitted, *e)
		default:
			uses++
		}
	}
	if f.options.OnLost != nil && refusals > 0 {
		f.options.OnLost(refusals)
	}
	if uses > 0 {
		if err := f.countLost(uses, errBudget); err != nil {
			return nil, err
		}
	}
	return admitted, nil
}

// measureSize adds up the sizes of the files of all processes.
func (f *File) measureSize() error {
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

// watchBudget measures the log every measureInterval, and writes to the server's log when the usage of the budget
// changes.
func (k *headKeeper) watchBudget() {
	if time.Since(k.lastMeasured) >= measureInterval {
		if err := k.measureSize(); err != nil {
			k.options.Log.Error("the size of the audit log cannot be measured", "error", err)
		}
		k.lastMeasured = time.Now()
	}
	use := k.usage()
	if use == k.lastUsage {
		return
	}
	bytes, budget := k.Size()
	switch k.lastUsage = use; use {
	case usageAlmostFull:
		k.options.Log.Warn("the audit log has used 80 % of its budget: raise the budget, or keep fewer files", "bytes", bytes, "budget", budget)
	case usageFull:
		k.options.Log.Error("the budget of the audit log is used up: raise the budget, or keep fewer files", "bytes", bytes, "budget", budget)
	default:
		k.options.Log.Info("the audit log is within its budget again", "bytes", bytes, "budget", budget)
	}
}
