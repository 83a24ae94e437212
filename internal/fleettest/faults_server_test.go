package fleettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/boltstore"
	"github.com/sessioncb/openssl/sessioncb/redisstore"
	"github.com/sessioncb/openssl/ssl"
)

func init() {
	processes["faults"] = runFaults
	redis.SetLogger(quiet{}) // its news are in the counters
}

// setup says what server process the tests of faults want.
type setup struct {
	Redis string // the address of the store; or
	Bolt  string // its file
	Mount string // a directory on which it mounts a small tmpfs
	Dials int    // redis.Options.DialerRetries

	// Of the Caches at both doors.
	Plain       bool // InsecurePlaintext
	WriteBehind int

	// Of the hasty one.
	Hasty                     time.Duration
	MaxCalls, BreakerFailures int
	BreakerPause, MissTTL     time.Duration
	NearBytes                 int64
}

// The server process has two doors, each a server and a Cache over the one
// store, and each resumes what the other made. The patient one waits for the
// store longer than any test takes, so that whatever works is seen to work on
// a machine that is busy, and has neither breakers nor memory. The hasty one
// is as setup says.
const (
	patient = "patient"
	hasty   = "hasty"
)

// state is what the process tells of itself, through one of its doors.
type state struct {
	Stats    sessioncb.Stats
	Handlers ssl.HandlerStats
	Served   served
	Store    calls
	Log      []string // of both doors

	Threads, Procs int
}

// faultsServer is the server process of the tests of faults.
type faultsServer struct {
	setup setup
	keys  [][]byte // the newest first
	ring  *sessioncb.KeyRing
	store sessioncb.Store
	liar  *liar
	doors map[string]*door
	clock atomic.Int64 // how far the Caches' clock is off
	log   logLines
	disk  disk
	close []func() error // last first
}

type door struct {
	store *watched
	cache *sessioncb.Cache
	ctx   *ssl.Context
	loop  *server
}

func runFaults() {
	s := &faultsServer{doors: map[string]*door{}}
	err := s.start()
	if err == nil {
		err = tell(map[string]string{patient: s.doors[patient].loop.addr, hasty: s.doors[hasty].loop.addr}, nil)
	} else {
		tell(nil, err)
	}
	if err == nil {
		err = answerLines(s.answer)
	}
	for i := len(s.close) - 1; i >= 0; i-- {
		err = errors.Join(err, s.close[i]())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the server process:", err)
		os.Exit(1)
	}
}

func (s *faultsServer) start() error {
	if err := argument(&s.setup); err != nil {
		return err
	}
	s.keys = [][]byte{sessioncb.GenerateKey()}
	ring, err := sessioncb.NewKeyRing(s.keys...)
	if err != nil {
		return err
	}
	s.ring = ring
	codec := s.ring.Codec()
	if s.setup.Plain {
		codec = sessioncb.InsecurePlaintext()
	}
	s.liar = &liar{codec: codec, values: map[string][]byte{}}
	if s.store, err = s.open(); err != nil {
		return err
	}
	o := s.setup
	if err := s.openDoor(patient, sessioncb.CacheOptions{
		LookupTimeout: patience, PutTimeout: patience, MaxCalls: handshakes, BreakerFailures: -1, MissTTL: -1,
	}); err != nil {
		return err
	}
	return s.openDoor(hasty, sessioncb.CacheOptions{
		LookupTimeout: o.Hasty, PutTimeout: o.Hasty, MaxCalls: o.MaxCalls,
		BreakerFailures: o.BreakerFailures, BreakerPause: o.BreakerPause, NearBytes: o.NearBytes, MissTTL: o.MissTTL,
	})
}

func (s *faultsServer) openDoor(name string, options sessioncb.CacheOptions) (err error) {
	options.WriteBehind = s.setup.WriteBehind
	options.Now = func() time.Time { return time.Now().Add(time.Duration(s.clock.Load())) }
	options.Logger = slog.New(slog.NewTextHandler(&s.log, nil))
	if s.setup.Plain {
		options.Codec = s.liar.codec
	} else {
		options.Keys = s.ring
	}
	d := &door{store: newWatched(s.store, s.liar)}
	if d.cache, err = sessioncb.NewCache(d.store, options); err != nil {
		return err
	}
	cfg := serverConfig()
	cfg.SessionCache = d.cache
	cfg.LookupTimeout, cfg.StoreTimeout, cfg.HandshakeTimeout = 2*patience, 2*patience, 2*patience // the Cache's own are shorter
	if d.ctx, err = ssl.NewContext(cfg); err != nil {
		return err
	}
	s.close = append(s.close, func() error { return closeContext(d.ctx) })
	if d.loop, err = newServer(d.ctx, func(c *ssl.Conn, b byte) {
		if b == logOut {
			session := c.Session()
			defer session.Close()
			d.ctx.RemoveSession(session)
		}
	}); err != nil {
		return err
	}
	s.close = append(s.close, func() error { d.loop.close(); return nil })
	s.doors[name] = d
	return nil
}

// logOut is the byte that has a server remove the connection's session.
const logOut = '!'

// open opens the store.
func (s *faultsServer) open() (sessioncb.Store, error) {
	if s.setup.Bolt != "" {
		if err := s.disk.mount(s.setup.Mount); err != nil {
			return nil, err
		}
		store, err := boltstore.Open(s.setup.Bolt, boltstore.Options{})
		if err != nil {
			return nil, err
		}
		s.close = append(s.close, store.Close)
		return store, nil
	}
	client := redis.NewClient(&redis.Options{
		Addr: s.setup.Redis, ContextTimeoutEnabled: true, PoolSize: 256, // the bound is to be MaxCalls
		DialTimeout: patience, ReadTimeout: patience, // the Cache's are shorter
		MaxRetries: -1, DialerRetries: s.setup.Dials,
	})
	s.close = append(s.close, client.Close)
	return redisstore.New(client, redisstore.Options{})
}

// quiet is a logger for go-redis.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// answer does what a line says: a door, a word, and what the word needs.
func (s *faultsServer) answer(line string) (any, error) {
	words := append(strings.Fields(line), "", "", "", "")
	d, what, rest := s.doors[words[0]], words[1], words[2]
	if d == nil {
		return nil, fmt.Errorf("no such door: %q", line)
	}
	duration, _ := time.ParseDuration(rest)
	switch what {
	case "state":
		return s.state(d), nil
	case "quiet": // the state when no call is inside the store any more
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
			if s.inside() == 0 {
				return s.state(d), nil
			}
		}
		return nil, fmt.Errorf("%d calls stay inside the store", s.inside())
	case "lie":
		off, _ := time.ParseDuration(words[3])
		s.liar.tell(rest, off)
		return nil, nil
	case "forget": // what was put, to lie no more of it
		s.liar.mu.Lock()
		defer s.liar.mu.Unlock()
		s.liar.keys, s.liar.values = nil, map[string][]byte{}
		return nil, nil
	case "made": // by a server whose clock is off
		s.liar.mu.Lock()
		defer s.liar.mu.Unlock()
		s.liar.madeOff = duration
		return nil, nil
	case "clock":
		s.clock.Store(int64(duration))
		return nil, nil
	case "lifetime":
		return nil, d.ctx.SetSessionTimeout(duration)
	case "rotate": // a new key, and the old ones stay
		s.keys = append([][]byte{sessioncb.GenerateKey()}, s.keys...)
		return nil, s.ring.Replace(s.keys...)
	case "renew":
		return s.liar.renew(context.Background(), s.store)
	case "retire": // all keys but the newest
		s.keys = s.keys[:1]
		return nil, s.ring.Replace(s.keys...)
	case "close":
		ctx, cancel := context.WithTimeout(context.Background(), duration)
		defer cancel()
		c := closed{}
		if err := d.cache.Close(ctx); err != nil {
			c.Err = err.Error()
		}
		return c, nil
	case "fill":
		return nil, s.disk.fill(s.setup)
	case "free":
		return nil, s.disk.free()
	}
	return nil, fmt.Errorf("no such command: %q", line)
}

// inside is how many calls have not ended, those included that wait for their
// turn.
func (s *faultsServer) inside() (n int64) {
	for _, d := range s.doors {
		v := d.cache.Stats()
		n += v.LookupsInside + v.WritesInside + v.QueuedPuts + v.QueuedRemovals
	}
	return n
}

// closed is what Cache.Close came to.
type closed struct{ Err string }

func (s *faultsServer) state(d *door) state {
	return state{
		Stats: d.cache.Stats(), Handlers: d.ctx.HandlerStats(), Served: d.loop.seen(), Store: d.store.counts(),
		Log: s.log.lines(), Threads: countThreads(), Procs: runtime.GOMAXPROCS(0),
	}
}

// countThreads reads the Threads line of /proc/self/status.
func countThreads() int {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "Threads:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(fields[0])
	return n
}

// logLines keeps what is logged.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logLines) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.buf.String()), "\n")
}
