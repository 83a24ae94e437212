package measure

import (
	"time"

	"github.com/sessioncb/openssl/bench/internal/host"
	"github.com/sessioncb/openssl/bench/internal/record"
	"github.com/sessioncb/openssl/bench/internal/rows"
)

// First is how many connections are there before the memory of the others is
// measured: what the first ones cost once is not theirs.
const First = 200

// settle is how long a server has to come to rest after the last handshake.
const settle = 500 * time.Millisecond

// idle measures the memory of idle connections: that of a new server with
// First connections, and again with the row's connections beside them.
func (b *Bench) idle(r *rows.Row, p rows.Peer) (run record.Run, err error) {
	run.Peer = p.Name
	s, err := b.Start(r, p)
	if err != nil {
		return run, err
	}
	defer func() {
		if stop := s.Stop(); err == nil {
			err = stop
		}
	}()
	var before int64
	for i, conns := range []int{First, r.Conns} {
		held, err := b.Hold(r, s, conns)
		if err != nil {
			return run, err
		}
		defer held.Close()
		run.Load = held.Load
		time.Sleep(settle)
		now, err := host.Memory(s.PID)
		if err != nil {
			return run, err
		}
		if i == 0 {
			before = now
			continue
		}
		run.KiBPerConn = float64(now-before) / 1024 / float64(conns)
	}
	process, err := host.ReadProcess(s.PID)
	if err != nil {
		return run, err
	}
	run.Threads, run.CPUs, run.RSS = process.Threads, process.CPUs, process.RSS
	run.Stats, err = s.Stats()
	return run, err
}
