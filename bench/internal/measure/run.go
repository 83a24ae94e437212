package measure

import (
	"fmt"
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

// A Bench is where the programs are and how they are run.
type Bench struct {
	Load      string // the load generator
	Server    func(program string) ([]string, error)
	Certs     string // directory
	ServerCPU int
	Spread    []int // if not nil, the processors of the servers in place of ServerCPU
	LoadCPU   int
	Warmup    time.Duration
	Window    time.Duration
}

// Start starts a peer's server for a row.
func (b *Bench) Start(r *rows.Row, p rows.Peer) (*Server, error) {
	argv, err := b.Server(p.Program)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	return startServer(p.Name, b.serverCPUs(), append(argv, r.ServerArgs(p, b.Certs)...)...)
}

func (b *Bench) serverCPUs() []int {
	if b.Spread != nil {
		return b.Spread
	}
	return []int{b.ServerCPU}
}

// loadLimit is for what the load does beside its warm-up and its window: half a
// minute, and what many connections take to be made.
func loadLimit(conns int) time.Duration {
	return 30*time.Second + time.Duration(conns)*5*time.Millisecond
}

func (b *Bench) startLoad(r *rows.Row, s *Server, conns int) (*load, error) {
	argv := []string{b.Load, "-addr", s.Addr, "-pid", fmt.Sprint(s.PID)}
	return startLoad(b.LoadCPU, append(argv, r.LoadArgs(b.Certs, conns, b.Warmup, b.Window)...)...)
}

// Run measures one window of a peer whose server was started for the row. A
// row of memory starts a server of its own, since memory is not given back, and
// takes no s.
func (b *Bench) Run(r *rows.Row, p rows.Peer, s *Server) (record.Run, error) {
	if r.Metric == rows.Memory {
		return b.idle(r, p)
	}
	run, err := b.run(r, p, s)
	if err != nil {
		return run, fmt.Errorf("%s: %w", p.Name, err)
	}
	return run, nil
}

func (b *Bench) run(r *rows.Row, p rows.Peer, s *Server) (record.Run, error) {
	run := record.Run{Peer: p.Name}
	stats, err := s.Settled()
	if err != nil {
		return run, err
	}
	from, err := host.ReadTimes()
	if err != nil {
		return run, err
	}
	cpu, err := host.CPUTime(s.PID)
	if err != nil {
		return run, err
	}
	l, err := b.startLoad(r, s, r.Conns)
	if err != nil {
		return run, err
	}
	seen := watch(r, s.PID, max(b.Warmup, r.Warmup), b.Window)
	run.Load, err = l.result(b.Window + max(b.Warmup, r.Warmup) + loadLimit(r.Conns))
	if err != nil {
		return run, err
	}
	loadCPU, err := l.end()
	if err != nil {
		return run, err
	}
	// The window of calm is the whole run, of which every part is measured in
	// units smaller than those of /proc/stat.
	to, err := host.ReadTimes()
	if err != nil {
		return run, err
	}
	cpuAfter, err := host.CPUTime(s.PID)
	if err != nil {
		return run, err
	}
	w := host.Between(from, to, cpuAfter-cpu, loadCPU)
	run.Others, run.Stolen = w.Others(), w.Stolen()
	after, err := s.Settled()
	if err != nil {
		return run, err
	}
	run.Stats = after.Sub(stats)
	run.Threads, run.CPUs, run.RSS = seen.threads, seen.cpus, seen.rss
	if run.Load.Ops > 0 && run.Load.Seconds > 0 {
		run.Switches = seen.switches / (float64(run.Load.Ops) / run.Load.Seconds)
	}
	if r.Delay > 0 && w.Wall > 0 && run.Load.Seconds > 0 {
		// Little's law: how many wait is how many come in a second times how
		// long each waits. Each operation of the window is one lookup.
		run.Waiting = float64(run.Load.Resumed) / run.Load.Seconds * r.Delay.Seconds()
	}
	return run, nil
}

// seen is what was seen of a server in its window.
type seen struct {
	threads, cpus int
	rss           int64
	switches      float64 // per second
}

// watch looks at a process in the middle of its window, and returns before
// the window ends: at its two ends, and at a row of threads every 50 ms.
func watch(r *rows.Row, pid int, warmup, window time.Duration) seen {
	time.Sleep(warmup + window/10)
	first, err := host.ReadProcess(pid)
	if err != nil {
		return seen{} // it has died, which the load or the next Stats will say
	}
	begin := time.Now()
	s := seen{threads: first.Threads, cpus: first.CPUs}
	step := window * 7 / 10
	if r.Metric == rows.Threads {
		step = 50 * time.Millisecond
	}
	for end := begin.Add(window * 7 / 10); time.Now().Before(end); {
		time.Sleep(min(step, time.Until(end)))
		now, err := host.ReadProcess(pid)
		if err != nil {
			return s
		}
		s.threads, s.rss = max(s.threads, now.Threads), now.RSS
		s.switches = float64(now.Switches-first.Switches) / time.Since(begin).Seconds()
	}
	return s
}
