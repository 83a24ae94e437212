package ssl

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/sessioncb/openssl/cshim"
	"github.com/sessioncb/openssl/sessioncb"
)

// getCase is one thing that a GetHandler can do, and what becomes of it.
type getCase struct {
	name string
	// answer is the handler's. It may leave sessions in k.spare, to be closed
	// when the handshake is over.
	answer func(t testing.TB, k *keeper, ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error)
	// resumed says whether the handshake resumes; it never fails.
	resumed bool
	// stats are the counters of the context after it.
	stats HandlerStats
	// attached are the counters of an attached context where they differ.
	attached *HandlerStats
	// lookup is the LookupTimeout, if the case needs one.
	lookup time.Duration
	// reported is in the error kept on a Conn of ours; nil where none is.
	reported error
}

var errGetCase = errors.New("the store is on fire")

// getCases returns the cases of a version. blank is a session without a cipher.
func getCases(version uint16, blank *Session) []getCase {
	type answer = func(t testing.TB, k *keeper, ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error)
	live := func(change func(t testing.TB, s *Session)) answer {
		return func(t testing.TB, k *keeper, _ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			return sessioncb.Live(k.copy(t, id, change)), nil
		}
	}
	encoded := func(change func(t testing.TB, s *Session)) answer {
		return func(t testing.TB, k *keeper, _ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			return sessioncb.DER(marshal(t, k.copy(t, id, change))), nil
		}
	}
	otherID := func(_ testing.TB, s *Session) {
		id := s.ID()
		id[0] ^= 1
		setSession(s, func(b cshim.Session) { b.SSL_SESSION_set1_id(id) })
	}
	old := func(_ testing.TB, s *Session) {
		setSession(s, func(b cshim.Session) {
			b.SSL_SESSION_set_time(time.Now().Unix() - 100)
			b.SSL_SESSION_set_timeout(10)
		})
	}
	// Its last second is over as it begins, to a libssl that counts fractions.
	lastSecond := old
	if cshim.VersionNum() >= 0x30200000 {
		lastSecond = func(_ testing.TB, s *Session) {
			setSession(s, func(b cshim.Session) {
				b.SSL_SESSION_set_time(time.Now().Unix() - 10)
				b.SSL_SESSION_set_timeout(10)
			})
		}
	}
	otherContext := func(_ testing.TB, s *Session) {
		setSession(s, func(b cshim.Session) { b.SSL_SESSION_set1_id_context([]byte("another")) })
	}
	return []getCase{{
		name:    "session kept by the handler",
		answer:  live(nil),
		resumed: true,
	}, {
		name: "the kept session itself, twice",
		answer: func(t testing.TB, k *keeper, _ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			return sessioncb.Live(k.session(t, id)), nil
		},
		resumed: true,
	}, {
		name:    "encoded",
		answer:  encoded(nil),
		resumed: true,
	}, {
		name: "miss",
		answer: func(testing.TB, *keeper, context.Context, sessioncb.Conn, []byte) (sessioncb.Answer, error) {
			return sessioncb.Answer{}, nil
		},
	}, {
		name: "error",
		answer: func(testing.TB, *keeper, context.Context, sessioncb.Conn, []byte) (sessioncb.Answer, error) {
			return sessioncb.Answer{}, errGetCase
		},
		stats:    HandlerStats{Errors: 1},
		reported: errGetCase,
	}, {
		name: "error beside a good session",
		answer: func(t testing.TB, k *keeper, _ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			return sessioncb.Live(k.session(t, id)), errGetCase
		},
		stats:    HandlerStats{Errors: 1},
		reported: errGetCase,
	}, {
		name:   "wrong id, live",
		answer: live(otherID),
		stats:  HandlerStats{WrongID: 1},
	}, {
		name:   "wrong id, encoded",
		answer: encoded(otherID),
		stats:  HandlerStats{WrongID: 1},
	}, {
		name:   "expired, live",
		answer: live(old),
		stats:  HandlerStats{Expired: 1},
	}, {
		name:   "expired, encoded",
		answer: encoded(old),
		stats:  HandlerStats{Expired: 1},
	}, {
		name:   "expired in this second, encoded",
		answer: encoded(lastSecond),
		stats:  HandlerStats{Expired: 1},
	}, {
		name:     "other session id context, live",
		answer:   live(otherContext),
		stats:    HandlerStats{WrongContext: 1},
		attached: &HandlerStats{}, // libssl knows its own context, and compares
	}, {
		name:     "other session id context, encoded",
		answer:   encoded(otherContext),
		stats:    HandlerStats{WrongContext: 1},
		attached: &HandlerStats{},
	}, {
		name: "other version",
		answer: func(t testing.TB, k *keeper, _ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			return sessioncb.DER(marshal(t, k.otherVersion(t, version, id))), nil
		},
		stats: HandlerStats{WrongVersion: 1},
	}, {
		name: "removed session",
		answer: func(t testing.TB, k *keeper, _ context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			s := k.copy(t, id, nil)
			if _, err := c.Context().RemoveSession(s); err != nil {
				t.Errorf("remove session inside the handler: %v", err)
			}
			return sessioncb.Live(s), nil
		},
		stats: HandlerStats{NotResumable: 1},
	}, {
		name: "closed session",
		answer: func(t testing.TB, k *keeper, _ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			s := k.copy(t, id, nil)
			s.Close()
			return sessioncb.Live(s), nil
		},
	}, {
		name: "session without a cipher",
		answer: func(_ testing.TB, _ *keeper, _ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			setSession(blank, func(b cshim.Session) { b.SSL_SESSION_set1_id(id) })
			return sessioncb.Live(blank), nil
		},
		stats: HandlerStats{NoCipher: 1},
	}, {
		name: "bytes that are no session",
		answer: func(testing.TB, *keeper, context.Context, sessioncb.Conn, []byte) (sessioncb.Answer, error) {
			return sessioncb.DER([]byte("no session at all")), nil
		},
		stats: HandlerStats{Malformed: 1},
	}, {
		name: "bytes left over",
		answer: func(t testing.TB, k *keeper, _ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			return sessioncb.DER(append(marshal(t, k.session(t, id)), 0)), nil
		},
		stats: HandlerStats{Malformed: 1},
	}, {
		name: "bytes cut off",
		answer: func(t testing.TB, k *keeper, _ context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			der := marshal(t, k.session(t, id))
			return sessioncb.DER(der[:len(der)-1]), nil
		},
		stats: HandlerStats{Malformed: 1},
	}, {
		name: "panic",
		answer: func(testing.TB, *keeper, context.Context, sessioncb.Conn, []byte) (sessioncb.Answer, error) {
			panic("the handler fell over")
		},
		stats:    HandlerStats{Panics: 1, Errors: 1}, // the lookup failed, and how
		reported: &HandlerPanicError{},
	}, {
		name: "runtime.Goexit",
		answer: func(testing.TB, *keeper, context.Context, sessioncb.Conn, []byte) (sessioncb.Answer, error) {
			runtime.Goexit()
			return sessioncb.Answer{}, nil
		},
		stats:    HandlerStats{Panics: 1, Errors: 1}, // the lookup failed, and how
		reported: &HandlerPanicError{},
	}, {
		name: "late",
		answer: func(t testing.TB, k *keeper, ctx context.Context, _ sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
			<-ctx.Done()
			<-k.over // still busy when the handshake is done
			return sessioncb.Live(k.session(t, id)), nil
		},
		stats:    HandlerStats{Late: 1},
		lookup:   50 * time.Millisecond,
		reported: errHandlerLate,
	}}
}

func setSession(s *Session, f func(cshim.Session)) { s.use(f) }

func marshal(t testing.TB, s *Session) []byte {
	t.Helper()
	der, err := s.MarshalBinary()
	if err != nil {
		t.Errorf("encode: %v", err)
	}
	return der
}

// keeper is the New- and GetHandler of the cases. It keeps all that it is told of.
type keeper struct {
	t    testing.TB
	over chan struct{} // closed when the handshakes are done

	mu      sync.Mutex
	answer  func(ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) // nil: a miss
	kept    map[string]*Session
	spare   []*Session
	asked   [][]byte
	running sync.WaitGroup // of handlers, the late ones too
}

// newKeeper closes all that it kept when the test ends; make it before the context.
func newKeeper(t testing.TB) *keeper {
	k := &keeper{t: t, over: make(chan struct{}), kept: map[string]*Session{}}
	t.Cleanup(func() {
		k.finish()
		for _, s := range k.kept {
			s.Close()
		}
		for _, s := range k.spare {
			s.Close()
		}
	})
	return k
}

// play makes the handler answer as c says.
func (k *keeper) play(c getCase) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answer = func(ctx context.Context, conn sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
		return c.answer(k.t, k, ctx, conn, id)
	}
}

// finish lets late handlers go on, and waits for them.
func (k *keeper) finish() {
	k.mu.Lock()
	select {
	case <-k.over:
	default:
		close(k.over)
	}
	k.mu.Unlock()
	k.running.Wait()
}

func (k *keeper) NewSession(_ context.Context, _ sessioncb.Conn, s sessioncb.Session) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept[string(s.ID())] = s.(*Session)
	return true
}

func (k *keeper) GetSession(ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	k.running.Add(1)
	defer k.running.Done()
	k.mu.Lock()
	k.asked = append(k.asked, id)
	answer := k.answer
	k.mu.Unlock()
	if answer == nil {
		return sessioncb.Answer{}, nil
	}
	return answer(ctx, c, id)
}

// lookups returns how often the GetHandler was asked.
func (k *keeper) lookups() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.asked)
}

// session returns the one kept under id, which stays the keeper's.
func (k *keeper) session(t testing.TB, id []byte) *Session {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.kept[string(id)]
	if s == nil {
		t.Errorf("no session was kept under the id that is asked for")
	}
	return s
}

// copy returns a copy of the one kept under id, changed, and closed later.
func (k *keeper) copy(t testing.TB, id []byte, change func(testing.TB, *Session)) *Session {
	s := k.session(t, id)
	if s == nil {
		return nil
	}
	d, err := s.Dup()
	if err != nil {
		t.Errorf("dup: %v", err)
		return nil
	}
	k.spareOne(d)
	if change != nil {
		change(t, d)
	}
	return d
}

func (k *keeper) spareOne(s *Session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.spare = append(k.spare, s)
}

// otherVersion returns a session that fits in all but its version, closed later.
func (k *keeper) otherVersion(t testing.TB, version uint16, id []byte) *Session {
	name := map[uint16]string{
		tls.VersionTLS12: "openssl-3.0.19-tls1.3-server.der",
		tls.VersionTLS13: "openssl-3.0.19-tls1.2-server.der",
	}[version]
	der, err := os.ReadFile(filepath.Join("..", "testdata", "sessions", name))
	if err != nil {
		t.Error(err)
		return nil
	}
	s, err := ParseSession(der)
	if err != nil {
		t.Error(err)
		return nil
	}
	k.spareOne(s)
	like := k.session(t, id)
	setSession(s, func(b cshim.Session) {
		b.SSL_SESSION_set1_id(id)
		b.SSL_SESSION_set1_id_context(like.IDContext())
		b.SSL_SESSION_set_time(time.Now().Unix())
		b.SSL_SESSION_set_timeout(7200)
	})
	return s
}
