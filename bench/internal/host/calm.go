package host

import "time"

// A Window is a stretch of time in which a server and a load ran, and what
// became of the processors' time.
type Window struct {
	Wall   time.Duration
	CPUs   int
	Idle   time.Duration // of all processors
	Steal  time.Duration // of all processors
	Server time.Duration // processor time of the server
	Load   time.Duration // processor time of the load
}

// Between is the window from one moment to another.
func Between(from, to Times, server, load time.Duration) Window {
	return Window{
		Wall:   to.At.Sub(from.At),
		CPUs:   to.CPUs,
		Idle:   to.Idle - from.Idle,
		Steal:  to.Steal - from.Steal,
		Server: server,
		Load:   load,
	}
}

// Others is the processor time that somebody else took, as a share of one
// core. What is busy is taken as what is not idle: the kernel measures idle
// time, while its busy columns count who happened to run at a clock tick.
// Those units are 10 ms, so that it may be a little below 0.
func (w Window) Others() float64 {
	if w.Wall <= 0 {
		return 0
	}
	busy := time.Duration(w.CPUs)*w.Wall - w.Idle - w.Steal
	return float64(busy-w.Server-w.Load) / float64(w.Wall)
}

// Stolen is the time that the hypervisor took, as a share of one core.
func (w Window) Stolen() float64 {
	if w.Wall <= 0 {
		return 0
	}
	return float64(w.Steal) / float64(w.Wall)
}

// Limits say what is calm. Both are shares of one core.
type Limits struct {
	Others float64
	Stolen float64
}

// DefaultLimits are those of the table: 10 % by others, 2 % stolen.
var DefaultLimits = Limits{Others: 0.10, Stolen: 0.02}

// Calm reports whether nobody else disturbed.
func (l Limits) Calm(others, stolen float64) bool {
	return others <= l.Others && stolen <= l.Stolen
}

// WaitCalm returns when a fifth of a second was calm with nothing of ours
// running, or when limit has passed.
func (l Limits) WaitCalm(limit time.Duration) error {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		from, err := ReadTimes()
		if err != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
		to, err := ReadTimes()
		if err != nil {
			return err
		}
		if w := Between(from, to, 0, 0); l.Calm(w.Others(), w.Stolen()) {
			return nil
		}
	}
	return nil
}
