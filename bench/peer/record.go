package peer

import (
	"errors"
	"os"
	"runtime/pprof"
	"runtime/trace"
)

// record starts a CPU profile and an execution trace into the files that are
// named, and returns what ends them.
func record(profile, execution string) (stop func() error, err error) {
	var ends []func() error
	stop = func() error {
		var errs []error
		for _, end := range ends {
			errs = append(errs, end())
		}
		return errors.Join(errs...)
	}
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return nil, err
		}
		ends = append(ends, func() error { pprof.StopCPUProfile(); return f.Close() })
		if err := pprof.StartCPUProfile(f); err != nil {
			return nil, errors.Join(err, stop())
		}
	}
	if execution != "" {
		f, err := os.Create(execution)
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		ends = append(ends, func() error { trace.Stop(); return f.Close() })
		if err := trace.Start(f); err != nil {
			return nil, errors.Join(err, stop())
		}
	}
	return stop, nil
}
