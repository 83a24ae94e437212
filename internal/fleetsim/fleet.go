package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// start is the simulation's first instant: any will do.
var start = time.Unix(1_800_000_000, 0)

// A fleet is the nodes, each with a real Cache, and the store or stores behind
// them. One goroutine drives it; the clock stands still during a call.
type fleet struct {
	o      options
	rand   *rand.Rand
	now    time.Duration // since start
	stores []*store
	nodes  []node
	der    []byte
	count  counts
}

type node struct {
	cache     *sessioncb.Cache
	idContext []byte
}

// counts are of connections, and of lookups in the store that no session could
// ever answer.
type counts struct {
	connections, offered, resumed, full int64
	resumed12, resumed13, full12        int64
	lookups, junkLookups, junkCalls     int64 // calls of GetSession; those with a made-up id; and what of them reached the store
}

func (c *counts) sub(o counts) {
	c.connections -= o.connections
	c.offered -= o.offered
	c.resumed -= o.resumed
	c.full -= o.full
	c.resumed12 -= o.resumed12
	c.resumed13 -= o.resumed13
	c.full12 -= o.full12
	c.lookups -= o.lookups
	c.junkLookups -= o.junkLookups
	c.junkCalls -= o.junkCalls
}

func newFleet(o options) (*fleet, error) {
	f := &fleet{o: o, rand: rand.New(rand.NewPCG(o.seed, 1)), der: make([]byte, o.der)}
	f.der[0] = 0x30 // as an encoding begins
	keys, err := sessioncb.NewKeyRing(sessioncb.GenerateKey())
	if err != nil {
		return nil, err
	}
	stores := 1
	if o.own {
		stores = o.nodes
	}
	for range stores {
		f.stores = append(f.stores, newStore(f.clock))
	}
	for i := range o.nodes {
		idContext := make([]byte, 32)
		idContext[0] = byte(i % o.split)
		cache, err := sessioncb.NewCache(f.store(i), sessioncb.CacheOptions{
			Keys:      keys,
			NearBytes: o.near, NearTTL: o.nearTTL, MissTTL: o.missTTL,
			SingleUse: o.single, TagIDs: o.tag,
			Now:    f.clock,
			Logger: slog.New(slog.DiscardHandler),
			// The store is never slow; the machine may be.
			LookupTimeout: time.Minute, PutTimeout: time.Minute,
		})
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", i, err)
		}
		f.nodes = append(f.nodes, node{cache, idContext})
	}
	return f, nil
}

func (f *fleet) clock() time.Time { return start.Add(f.now) }

func (f *fleet) store(node int) *store {
	if f.o.own {
		return f.stores[node]
	}
	return f.stores[0]
}

// run simulates and returns what happened in o.length, after a lifetime.
func (f *fleet) run() (result, error) {
	clients := newCrowd(&f.o, f.rand)
	from := f.o.ttl
	to := from + f.o.length
	for clients.heap[0].next < from {
		if err := f.step(clients); err != nil {
			return result{}, err
		}
	}
	f.now = from
	before := f.snapshot()
	for clients.heap[0].next < to {
		if err := f.step(clients); err != nil {
			return result{}, err
		}
	}
	f.now = to
	r := f.snapshot()
	r.since(before)
	if r.counts.connections == 0 {
		return result{}, fmt.Errorf("no connection in %v: more clients, or a longer time", f.o.length)
	}
	return r, nil
}

func (f *fleet) step(clients *crowd) error {
	cl := clients.heap[0]
	f.now = cl.next
	at := cl.node
	if !f.o.sticky {
		at = f.rand.IntN(f.o.nodes)
	}
	err := f.connect(cl, at)
	if f.o.junk > 0 {
		for n := f.o.junk; n > 0; n-- {
			if n >= 1 || f.rand.Float64() < n {
				f.lookup(f.rand.IntN(f.o.nodes), f.strangersID(), versionOf(!f.o.only12), true)
			}
		}
	}
	clients.advance()
	return err
}

// connect is one handshake, and the end of the connection.
func (f *fleet) connect(cl *client, at int) error {
	tls13 := cl.tls13 && !f.o.only12
	offer := cl.offer(&f.o, f.now)
	f.count.connections++
	resumed := false
	switch {
	case offer != (ticket{}):
		f.count.offered++
		resumed = f.lookup(at, []byte(offer.id), versionOf(tls13), false)
	case cl.tls13 && f.o.only12:
		// A ClientHello of both versions has a random session id (R35).
		f.lookup(at, f.strangersID(), versionOf(tls13), true)
	}
	switch {
	case resumed && tls13:
		f.count.resumed13++
	case resumed:
		f.count.resumed12++
	case !tls13:
		f.count.full12++
	}
	cl.earlier = offer
	if resumed {
		f.count.resumed++
	} else {
		f.count.full++
	}
	if tls13 || !resumed {
		t := ticket{began: f.now, made: f.now, lifetime: f.o.ttl}
		if resumed {
			t.began = offer.began
			t.lifetime = min(t.lifetime, (t.began + f.o.maxAge - f.now).Truncate(time.Second))
		}
		if cl.ticket = t; t.lifetime <= 0 {
			cl.ticket = ticket{} // the chain ends here
		} else if err := f.announce(at, tls13, &cl.ticket); err != nil {
			return err
		}
	} else {
		cl.ticket = offer
	}
	if f.rand.Float64() < f.o.faulty {
		s := &session{id: []byte(cl.ticket.id), idContext: f.nodes[at].idContext, version: versionOf(tls13)}
		f.nodes[at].cache.RemoveSession(context.Background(), s, sessioncb.Removal{Reason: sessioncb.Faulty, HandshakeDone: true})
		cl.ticket = ticket{}
	}
	return nil
}

// lookup asks the node's Cache, as a handshake does.
func (f *fleet) lookup(at int, id []byte, version uint16, junk bool) (found bool) {
	st := f.store(at)
	before, _, _ := st.state()
	n := f.nodes[at]
	answer, _ := n.cache.GetSession(context.Background(), &conn{version: version, idContext: n.idContext}, id)
	f.count.lookups++
	if junk {
		after, _, _ := st.state()
		f.count.junkLookups++
		f.count.junkCalls += after.gets + after.claims - before.gets - before.claims
	}
	return answer.Encoded() != nil
}

// announce has the node's Cache store the new session t, and gives it an id.
func (f *fleet) announce(at int, tls13 bool, t *ticket) error {
	n := f.nodes[at]
	id, ok := n.cache.NewSessionID()
	if !ok {
		copy(id[:], f.strangersID())
	}
	t.id = string(id[:])
	s := &session{
		id: id[:], idContext: n.idContext, der: f.der, version: versionOf(tls13),
		// OpenSSL counts in whole seconds.
		made: f.clock().Truncate(time.Second), lifetime: t.lifetime,
	}
	st := f.store(at)
	before, _, _ := st.state()
	n.cache.NewSession(context.Background(), &conn{version: s.version, idContext: n.idContext}, s)
	after, _, _ := st.state()
	// A session that has less than the rest of this second to live is not stored.
	if puts := after.puts - before.puts; puts != 1 && s.made.Add(s.lifetime).After(f.clock()) {
		return fmt.Errorf("a new session made %d puts: %+v", puts, n.cache.Stats().Puts)
	}
	return nil
}

// strangersID is an id that no Cache made.
func (f *fleet) strangersID() []byte {
	id := make([]byte, 32)
	for i := range id {
		id[i] = byte(f.rand.Uint32())
	}
	return id
}
